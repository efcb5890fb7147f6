// What the HTTP target needs of nghttp2 (1.52): its header, sessions made with our options and memory, and submissions
// that carry no fields. Only HTTP imports this module.
#ifndef TG_CNGHTTP2_H
#define TG_CNGHTTP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <nghttp2/nghttp2.h>

/// What a session tells its peer in the first SETTINGS frame.
typedef struct tg_nghttp2_settings {
    uint32_t max_concurrent_streams;
    uint32_t initial_window_size;
    uint32_t max_header_list_size;
    int32_t connection_window;
    bool enable_connect_protocol;
} tg_nghttp2_settings;

/// Makes a session with its first SETTINGS and WINDOW_UPDATE submitted; null when there is no memory. The callbacks
/// are copied. `user` must outlive the session.
nghttp2_session *tg_nghttp2_new(bool server, const nghttp2_session_callbacks *callbacks, void *user,
                                const tg_nghttp2_settings *settings);

/// Blocks of memory that sessions hold on this thread: taken less given back.
long tg_nghttp2_blocks(void);

/// The method as far as nghttp2 must know it to judge a response.
enum { TG_METHOD_ANY = 0, TG_METHOD_HEAD = 1, TG_METHOD_CONNECT = 2 };

/// A request without fields but the method where it matters. Returns the stream's number or an error code.
int32_t tg_nghttp2_submit_request(nghttp2_session *session, int method, bool ends, void *stream_user);

static inline int tg_nghttp2_submit_headers(nghttp2_session *session, int32_t stream, bool ends) {
    return nghttp2_submit_headers(session, ends ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, stream, NULL, NULL, 0,
                                  NULL);
}

/// Content that `read` gives, up to END_STREAM; `index` comes back in `source->fd`.
static inline int tg_nghttp2_submit_data(nghttp2_session *session, int32_t stream, int index,
                                         nghttp2_data_source_read_callback read) {
    nghttp2_data_provider provider = {.source = {.fd = index}, .read_callback = read};
    return nghttp2_submit_data(session, NGHTTP2_FLAG_END_STREAM, stream, &provider);
}

#endif
