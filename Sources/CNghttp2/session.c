#include "CNghttp2.h"

#include <stdlib.h>
#include <string.h>

// nghttp2 makes and frees about ten small objects for each stream. Small blocks are therefore kept for reuse by the
// thread that freed them, so that a stream costs no allocation in the steady state.

static __thread long blocks_in_use;

long tg_nghttp2_blocks(void) { return blocks_in_use; }

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TG_SANITIZED 1
#endif
#endif

#ifdef TG_SANITIZED

static void *allocate(size_t size, void *user) {
    (void)user;
    void *memory = malloc(size);
    if (memory) blocks_in_use++;
    return memory;
}

static void release(void *memory, void *user) {
    (void)user;
    if (memory) blocks_in_use--;
    free(memory);
}

static void *clear(size_t number, size_t size, void *user) {
    (void)user;
    void *memory = calloc(number, size);
    if (memory) blocks_in_use++;
    return memory;
}

static void *reallocate(void *memory, size_t size, void *user) {
    (void)user;
    void *moved = realloc(memory, size);
    if (moved && !memory) blocks_in_use++;
    return moved;
}

#else

enum { class_count = 16, header_bytes = 16, large = 255, small_step = 32, small_limit = 1024, kept_bytes = 64 * 1024 };

static const uint16_t class_bytes[class_count] = {32,  64,  96,   128,  192,  256,  320,  384,
                                                  512, 768, 1024, 1536, 2048, 3072, 4096, 8192};
/// The class of a size up to small_limit, by the number of steps.
static const uint8_t small_classes[small_limit / small_step + 1] = {
    0, 0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 10};

typedef struct block {
    uint8_t class_index;
    struct block *next;
} block;

typedef struct {
    block *first;
    unsigned kept;
} free_list;

_Static_assert(sizeof(block) <= header_bytes, "the header keeps the alignment of malloc");

static __thread free_list free_lists[class_count];

static unsigned class_of(size_t size) {
    if (size <= small_limit) return small_classes[(size + small_step - 1) / small_step];
    for (unsigned index = 11; index < class_count; index++)
        if (size <= class_bytes[index]) return index;
    return large;
}

static void *allocate(size_t size, void *user) {
    (void)user;
    unsigned index = class_of(size);
    block *found;
    if (index != large && free_lists[index].first) {
        found = free_lists[index].first;
        free_lists[index].first = found->next;
        free_lists[index].kept--;
    } else {
        size_t bytes = index == large ? size : class_bytes[index];
        if (bytes > (size_t)-1 - header_bytes) return NULL;
        found = malloc(bytes + header_bytes);
        if (!found) return NULL;
        found->class_index = (uint8_t)index;
    }
    blocks_in_use++;
    return (char *)found + header_bytes;
}

static void release(void *memory, void *user) {
    (void)user;
    if (!memory) return;
    blocks_in_use--;
    block *freed = (block *)((char *)memory - header_bytes);
    unsigned index = freed->class_index;
    if (index == large || free_lists[index].kept * class_bytes[index] >= kept_bytes) {
        free(freed);
        return;
    }
    freed->next = free_lists[index].first;
    free_lists[index].first = freed;
    free_lists[index].kept++;
}

static void *clear(size_t number, size_t size, void *user) {
    size_t bytes;
    if (__builtin_mul_overflow(number, size, &bytes)) return NULL;
    void *memory = allocate(bytes, user);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

static void *reallocate(void *memory, size_t size, void *user) {
    if (!memory) return allocate(size, user);
    block *old = (block *)((char *)memory - header_bytes);
    if (old->class_index == large && class_of(size) == large) {
        if (size > (size_t)-1 - header_bytes) return NULL;
        block *moved = realloc(old, size + header_bytes);
        return moved ? (char *)moved + header_bytes : NULL;
    }
    if (old->class_index != large && size <= class_bytes[old->class_index]) return memory;
    void *copy = allocate(size, user);
    if (!copy) return NULL;
    // A small block grows, or a large one shrinks to the size of a small one: the smaller of the two is copied.
    size_t kept = old->class_index == large ? size : class_bytes[old->class_index];
    memcpy(copy, memory, kept < size ? kept : size);
    release(memory, user);
    return copy;
}

#endif

static bool set_options(nghttp2_option **option) {
    if (nghttp2_option_new(option) != 0) return false;
    nghttp2_option_set_no_auto_window_update(*option, 1);
    nghttp2_option_set_no_closed_streams(*option, 1);
    nghttp2_option_set_max_reserved_remote_streams(*option, 0);
    // Blocks are encoded by ourselves: the library's own table stays empty.
    nghttp2_option_set_max_deflate_dynamic_table_size(*option, 0);
    // Behind the session's own counts, which come first.
    nghttp2_option_set_max_outbound_ack(*option, 256);
    nghttp2_option_set_max_settings(*option, 32);
    nghttp2_option_set_max_continuations(*option, 32);
    nghttp2_option_set_stream_reset_rate_limit(*option, 10000, 1000);
    return true;
}

static int submit_settings(nghttp2_session *session, bool server, const tg_nghttp2_settings *settings) {
    nghttp2_settings_entry entries[5];
    size_t count = 0;
    entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings->initial_window_size};
    entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings->max_header_list_size};
    entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
    if (server) {
        entries[count++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings->max_concurrent_streams};
        if (settings->enable_connect_protocol)
            entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
    } else {
        entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    }
    int code = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, entries, count);
    if (code != 0) return code;
    return nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, settings->connection_window);
}

nghttp2_session *tg_nghttp2_new(bool server, const nghttp2_session_callbacks *callbacks, void *user,
                                const tg_nghttp2_settings *settings) {
    nghttp2_mem memory = {NULL, allocate, release, clear, reallocate};
    nghttp2_option *option = NULL;
    nghttp2_session *session = NULL;
    if (!set_options(&option)) return NULL;
    int code = server ? nghttp2_session_server_new3(&session, callbacks, user, option, &memory)
                      : nghttp2_session_client_new3(&session, callbacks, user, option, &memory);
    nghttp2_option_del(option);
    if (code != 0) return NULL;
    if (submit_settings(session, server, settings) != 0) {
        nghttp2_session_del(session);
        return NULL;
    }
    return session;
}

int32_t tg_nghttp2_submit_request(nghttp2_session *session, int method, bool ends, void *stream_user) {
    static const char *const methods[] = {"", "HEAD", "CONNECT"};
    nghttp2_nv field = {(uint8_t *)(uintptr_t)":method", (uint8_t *)(uintptr_t)methods[method], 7, strlen(methods[method]),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    return nghttp2_submit_headers(session, ends ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, -1, NULL, &field,
                                  method == TG_METHOD_ANY ? 0 : 1, stream_user);
}
