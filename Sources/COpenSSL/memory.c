#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

// libssl 3.0 makes and frees three small objects for each record that it sends and one for each that it receives.
// Small blocks are therefore kept for reuse by the thread that freed them, so that a request costs no allocation.

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TG_SANITIZED 1
#endif
#endif

#ifndef TG_SANITIZED

enum { class_count = 4, kept_per_class = 64, header_bytes = 16, large = 255 };

typedef struct block {
    unsigned char class_index;
    struct block *next;
} block;

typedef struct {
    block *first;
    int count;
} free_list;

_Static_assert(sizeof(block) <= header_bytes, "the header keeps the alignment of malloc");

static __thread free_list free_lists[class_count];

static size_t class_bytes(int index) { return (size_t)64 << index; }

static int class_of(size_t size) {
    for (int index = 0; index < class_count; index++)
        if (size <= class_bytes(index)) return index;
    return large;
}

static void *allocate(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    if (size == 0) return NULL;
    int index = class_of(size);
    block *found;
    if (index != large && free_lists[index].first) {
        found = free_lists[index].first;
        free_lists[index].first = found->next;
        free_lists[index].count--;
    } else {
        size_t bytes = index == large ? size : class_bytes(index);
        if (bytes > (size_t)-1 - header_bytes) return NULL;
        found = malloc(bytes + header_bytes);
        if (!found) return NULL;
        found->class_index = (unsigned char)index;
    }
    return (char *)found + header_bytes;
}

static void release(void *memory, const char *file, int line) {
    (void)file;
    (void)line;
    if (!memory) return;
    block *freed = (block *)((char *)memory - header_bytes);
    int index = freed->class_index;
    if (index == large || free_lists[index].count >= kept_per_class) {
        free(freed);
        return;
    }
    freed->next = free_lists[index].first;
    free_lists[index].first = freed;
    free_lists[index].count++;
}

static void *reallocate(void *memory, size_t size, const char *file, int line) {
    if (!memory) return allocate(size, file, line);
    if (size == 0) {
        release(memory, file, line);
        return NULL;
    }
    block *old = (block *)((char *)memory - header_bytes);
    if (old->class_index == large && class_of(size) == large) {
        if (size > (size_t)-1 - header_bytes) return NULL;
        block *moved = realloc(old, size + header_bytes);
        return moved ? (char *)moved + header_bytes : NULL;
    }
    if (old->class_index != large && size <= class_bytes(old->class_index)) return memory;
    void *copy = allocate(size, file, line);
    if (!copy) return NULL;
    // A small block grows, or a large one shrinks to the size of a small one: the smaller of the two is copied.
    size_t kept = old->class_index == large ? size : class_bytes(old->class_index);
    memcpy(copy, memory, kept < size ? kept : size);
    release(memory, file, line);
    return copy;
}

// Before main: OpenSSL takes other functions only until its first allocation.
__attribute__((constructor)) static void install(void) {
    (void)CRYPTO_set_mem_functions(allocate, reallocate, release);
}

#endif
