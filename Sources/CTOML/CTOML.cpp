#include "CTOML.h"

// Errors as values; nothing of toml++ may abort the process on what a file says.
#define TOML_EXCEPTIONS 0
#define TOML_ASSERT(expr) (void)0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

#include <new>
#include <string>
#include <string_view>
#include <vector>

struct ctoml_document {
    toml::table root;
    std::vector<ctoml_node> nodes;
    std::string error;
    uint32_t line = 0;
    uint32_t column = 0;
};

namespace {

constexpr size_t max_bytes = 1 << 20;
constexpr size_t max_dots = 64;

/// Finds the first line with too many dots outside strings and comments, or returns 0.
///
/// Each dot of a dotted key is a level of tables, which toml++ frees by recursion and does not limit. A text on which
/// this lexer and toml++ disagree is malformed, and toml++ stops at or before the place of the disagreement.
class dot_counter {
    std::string_view text;
    size_t at = 0;
    uint32_t line = 1;
    size_t dots = 0;

    bool ends_with(std::string_view mark) const { return text.compare(at, mark.size(), mark) == 0; }

    void skip_string(char quote) {
        const std::string triple(3, quote);
        const bool is_long = ends_with(triple);
        const std::string_view mark = is_long ? std::string_view(triple) : std::string_view(triple).substr(0, 1);
        for (at += mark.size(); at < text.size() && !ends_with(mark); at++) {
            if (text[at] == '\n') {
                if (!is_long) return;
                line++;
                dots = 0;
            }
            if (quote == '"' && text[at] == '\\' && at + 1 < text.size() && text[at + 1] != '\n') at++;
        }
        at += mark.size();
    }

  public:
    explicit dot_counter(std::string_view text) : text(text) {}

    uint32_t first_bad_line() {
        while (at < text.size()) {
            const char c = text[at];
            if (c == '"' || c == '\'') {
                skip_string(c);
                continue;
            }
            if (c == '#') {
                at = std::min(text.find('\n', at), text.size());
                continue;
            }
            if (c == '\n') {
                line++;
                dots = 0;
            }
            if (c == '.' && ++dots > max_dots) return line;
            at++;
        }
        return 0;
    }
};

void fill(ctoml_node &entry, const toml::node &value) {
    entry.line = value.source().begin.line;
    entry.column = value.source().begin.column;
    if (const auto *table = value.as_table()) {
        entry.kind = CTOML_TABLE;
        entry.children = table->size();
    } else if (const auto *array = value.as_array()) {
        entry.kind = CTOML_ARRAY;
        entry.children = array->size();
    } else if (const auto *text = value.as_string()) {
        entry.kind = CTOML_STRING;
        entry.text = text->get().data();
        entry.text_length = text->get().size();
    } else if (const auto *integer = value.as_integer()) {
        entry.kind = CTOML_INTEGER;
        entry.integer = integer->get();
    } else if (const auto *number = value.as_floating_point()) {
        entry.kind = CTOML_FLOAT;
        entry.number = number->get();
    } else if (const auto *boolean = value.as_boolean()) {
        entry.kind = CTOML_BOOLEAN;
        entry.integer = boolean->get() ? 1 : 0;
    } else {
        entry.kind = CTOML_DATE;
    }
}

/// Appends a value and all below it. The recursion is bounded by the limits on nesting and dots.
void append(std::vector<ctoml_node> &nodes, const toml::node &value, const toml::key *key) {
    ctoml_node entry{};
    if (key) {
        entry.key = key->str().data();
        entry.key_length = key->str().size();
        entry.key_line = key->source().begin.line;
        entry.key_column = key->source().begin.column;
    }
    fill(entry, value);
    nodes.push_back(entry);
    if (const auto *table = value.as_table()) {
        for (auto it = table->cbegin(); it != table->cend(); ++it) append(nodes, it->second, &it->first);
    } else if (const auto *array = value.as_array()) {
        for (auto it = array->cbegin(); it != array->cend(); ++it) append(nodes, *it, nullptr);
    }
}

void fail(ctoml_document &document, std::string_view message, uint32_t line, uint32_t column) {
    document.error = message.empty() ? std::string("malformed TOML") : std::string(message);
    document.line = line;
    document.column = column;
}

void parse(ctoml_document &document, std::string_view text) {
    if (text.size() > max_bytes) return fail(document, "the file is larger than 1 MiB", 1, 1);
    if (const uint32_t line = dot_counter(text).first_bad_line()) {
        return fail(document, "more than 64 dots outside strings on one line", line, 1);
    }
    toml::parse_result result = toml::parse(text);
    if (!result) {
        const auto &error = result.error();
        return fail(document, error.description(), error.source().begin.line, error.source().begin.column);
    }
    document.root = std::move(result).table();
    append(document.nodes, document.root, nullptr);
}

}  // namespace

extern "C" {

ctoml_document *ctoml_parse(const char *bytes, size_t length) {
    auto *document = new (std::nothrow) ctoml_document;
    if (!document) return nullptr;
    try {
        parse(*document, std::string_view(bytes, length));
    } catch (...) {
        delete document;
        return nullptr;
    }
    return document;
}

void ctoml_free(ctoml_document *document) { delete document; }

const char *ctoml_error(const ctoml_document *document, uint32_t *line, uint32_t *column) {
    *line = document->line;
    *column = document->column;
    return document->error.empty() ? nullptr : document->error.c_str();
}

const ctoml_node *ctoml_nodes(const ctoml_document *document, size_t *count) {
    *count = document->nodes.size();
    return document->nodes.data();
}
}
