#ifndef TG_CTOML_H
#define TG_CTOML_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A C view of one TOML document parsed by toml++. No C++ exception leaves these functions.

typedef enum {
    CTOML_TABLE,
    CTOML_ARRAY,
    CTOML_STRING,
    CTOML_INTEGER,
    CTOML_FLOAT,
    CTOML_BOOLEAN,
    CTOML_DATE,
} ctoml_kind;

/// One value. Nodes stand in preorder: a table or array is followed by its `children` values, each with all that is
/// below it. A table's members are in no particular order; their positions tell the order of the file.
typedef struct {
    ctoml_kind kind;
    /// Line and column (from 1, columns in code points) of the value; of a table, where it begins.
    uint32_t line, column;
    /// The key, if the parent is a table. Not zero terminated; may hold any character.
    const char *key;
    size_t key_length;
    uint32_t key_line, key_column;
    /// CTOML_STRING only; not zero terminated.
    const char *text;
    size_t text_length;
    /// CTOML_INTEGER; CTOML_BOOLEAN as 0 or 1.
    int64_t integer;
    double number;
    /// CTOML_TABLE and CTOML_ARRAY only: direct children.
    size_t children;
} ctoml_node;

typedef struct ctoml_document ctoml_document;

/// Parses `length` bytes of UTF-8, which are copied. Returns a document that the caller frees with ctoml_free, whether
/// or not there was an error; NULL only if memory ran out.
///
/// Refused: more than 1 MiB, values nested more than 16 deep, more than 64 dots outside strings on one line. These
/// limits bound the recursion in toml++, so that no input overflows a thread's stack.
ctoml_document *ctoml_parse(const char *bytes, size_t length);
void ctoml_free(ctoml_document *document);

/// NULL if the document is valid; otherwise what is wrong, zero terminated, owned by the document.
const char *ctoml_error(const ctoml_document *document, uint32_t *line, uint32_t *column);

/// The nodes, the root table first; none if there was an error. Owned by the document.
const ctoml_node *ctoml_nodes(const ctoml_document *document, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
