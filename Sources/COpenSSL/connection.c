// One TLS connection over memory: a BIO whose source is the caller's input and whose sink is a growable buffer.
#include "COpenSSL.h"

#include <stdlib.h>
#include <string.h>

// ---- the buffer

bool tg_buffer_reserve(tg_buffer *buffer, size_t capacity) {
    if (capacity <= buffer->capacity) return true;
    size_t grown = buffer->capacity > SIZE_MAX / 2 ? capacity : buffer->capacity * 2;
    if (grown < capacity) grown = capacity;
    unsigned char *bytes = realloc(buffer->bytes, grown);
    if (!bytes) return false;
    buffer->bytes = bytes;
    buffer->capacity = grown;
    return true;
}

void tg_buffer_free(tg_buffer *buffer) {
    free(buffer->bytes);
    memset(buffer, 0, sizeof *buffer);
}

// ---- the BIO

static int memory_write(BIO *bio, const char *data, size_t count, size_t *written) {
    tg_tls *tls = BIO_get_data(bio);
    tg_buffer *output = tls ? tls->output : NULL;
    BIO_clear_retry_flags(bio);
    *written = 0;
    if (!output || count > SIZE_MAX - output->count || !tg_buffer_reserve(output, output->count + count)) return 0;
    memcpy(output->bytes + output->count, data, count);
    output->count += count;
    *written = count;
    return 1;
}

static int memory_read(BIO *bio, char *data, size_t room, size_t *taken) {
    tg_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *taken = 0;
    if (!tls) return 0;
    size_t count = tls->input_count < room ? tls->input_count : room;
    if (count == 0) {
        // The end of the stream is the driver's business: here there is only "not yet".
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(data, tls->input, count);
    tls->input += count;
    tls->input_count -= count;
    *taken = count;
    return 1;
}

static long memory_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static CRYPTO_ONCE method_once = CRYPTO_ONCE_STATIC_INIT;
static BIO_METHOD *method;

static void make_method(void) {
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "token-gateway memory");
    if (!made) return;
    BIO_meth_set_write_ex(made, memory_write);
    BIO_meth_set_read_ex(made, memory_read);
    BIO_meth_set_ctrl(made, memory_control);
    method = made;
}

// ---- the connection

tg_tls *tg_tls_new(SSL_CTX *context, bool server) {
    if (!CRYPTO_THREAD_run_once(&method_once, make_method) || !method) return NULL;
    tg_tls *tls = calloc(1, sizeof *tls);
    BIO *bio = tls ? BIO_new(method) : NULL;
    SSL *ssl = bio ? SSL_new(context) : NULL;
    if (!ssl || !SSL_set_app_data(ssl, tls)) {
        SSL_free(ssl);
        BIO_free(bio);
        free(tls);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);  // takes over the only reference
    if (server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
    tls->ssl = ssl;
    tls->verify_error = X509_V_OK;
    tls->drained = true;
    return tls;
}

void tg_tls_free(tg_tls *tls) {
    if (!tls) return;
    // SSL_free makes the session of a connection without close_notify unusable. A connection that broke has already
    // had its session withdrawn by OpenSSL; every other session stays good.
    if (SSL_is_init_finished(tls->ssl)) SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    SSL_SESSION_free(tls->session);
    X509_free(tls->rejected);
    free(tls);
}

// Same as ERR_clear_error, which goes through all its slots even when there is nothing to clear.
static inline void clear_errors(void) {
    if (ERR_peek_error() != 0) ERR_clear_error();
}

static inline void begin(tg_tls *tls, const void *input, size_t count, tg_buffer *output) {
    tls->input = input;
    tls->input_count = count;
    tls->output = output;
    clear_errors();
}

static inline size_t end(tg_tls *tls) {
    size_t left = tls->input_count;
    tls->input = NULL;
    tls->input_count = 0;
    tls->output = NULL;
    return left;
}

int tg_tls_handshake(tg_tls *tls, const void *input, size_t count, tg_buffer *output, size_t *consumed) {
    begin(tls, input, count, output);
    int result = SSL_do_handshake(tls->ssl);
    int code = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    *consumed = count - end(tls);
    // With read-ahead, application data that came with the last flight is inside OpenSSL already.
    tls->drained = code != SSL_ERROR_NONE || !SSL_has_pending(tls->ssl);
    return code;
}

int tg_tls_receive(tg_tls *tls, const void *input, size_t count, void *plaintext, size_t room, tg_buffer *output,
                   size_t *consumed, size_t *produced) {
    begin(tls, input, count, output);
    size_t filled = 0;
    int code = SSL_ERROR_NONE;
    while (filled < room) {
        size_t taken = 0;
        int result = SSL_read_ex(tls->ssl, (unsigned char *)plaintext + filled, room - filled, &taken);
        if (result != 1) {
            code = SSL_get_error(tls->ssl, result);
            break;
        }
        filled += taken;
        clear_errors();
    }
    if (code == SSL_ERROR_NONE && tls->input_count == 0 && !SSL_has_pending(tls->ssl)) code = SSL_ERROR_WANT_READ;
    tls->drained = code != SSL_ERROR_NONE;
    *consumed = count - end(tls);
    *produced = filled;
    return code;
}

int tg_tls_send(tg_tls *tls, const void *plaintext, size_t count, tg_buffer *output) {
    begin(tls, NULL, 0, output);
    size_t written = 0;
    // While a handshake message that the peer has cut into several records is half read, OpenSSL wants its rest
    // before it writes anything.
    int result = SSL_write_ex(tls->ssl, plaintext, count, &written);
    int code = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    end(tls);
    return code;
}

void tg_tls_close(tg_tls *tls, tg_buffer *output) {
    if (SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN) return;
    begin(tls, NULL, 0, output);
    // A key update that is still to be sent goes first. In the middle of a message of the peer nothing can be sent.
    if (!SSL_in_init(tls->ssl) || SSL_do_handshake(tls->ssl) == 1) (void)SSL_shutdown(tls->ssl);
    end(tls);
    clear_errors();
}

// ---- the context's callbacks

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    tg_tls *tls = SSL_get_app_data(ssl);
    if (!tls) return 0;
    SSL_SESSION_free(tls->session);
    tls->session = session;
    return 1;  // the reference is ours now
}

static int note_refusal(int ok, X509_STORE_CTX *store) {
    if (ok) return ok;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    tg_tls *tls = ssl ? SSL_get_app_data(ssl) : NULL;
    X509 *current = X509_STORE_CTX_get_current_cert(store);
    if (tls && current && !tls->rejected && X509_up_ref(current)) tls->rejected = current;
    if (tls) {
        tls->verify_error = X509_STORE_CTX_get_error(store);
        tls->verify_depth = X509_STORE_CTX_get_error_depth(store);
    }
    return 0;  // never turns a refusal into consent
}

static int refuse_password(char *buffer, int size, int writing, void *data) {
    (void)buffer, (void)size, (void)writing, (void)data;
    return -1;  // OpenSSL's own would ask on the terminal
}

void tg_context_prepare(SSL_CTX *context, tg_verify verify) {
    SSL_CTX_sess_set_new_cb(context, keep_session);
    SSL_CTX_set_default_passwd_cb(context, refuse_password);
    if (verify == tg_verify_none) return;
    int strictness = verify == tg_verify_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | strictness, note_refusal);
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_count, const unsigned char *offered,
                       unsigned int offered_count, void *argument) {
    (void)ssl;
    const tg_buffer *wire = argument;
    for (size_t ours = 0; ours < wire->count; ours += 1 + wire->bytes[ours]) {
        for (size_t theirs = 0; theirs < offered_count; theirs += 1 + offered[theirs]) {
            size_t length = offered[theirs];
            if (theirs + 1 + length > offered_count) break;
            if (length != wire->bytes[ours] || memcmp(offered + theirs + 1, wire->bytes + ours + 1, length) != 0) continue;
            *out = offered + theirs + 1;
            *out_count = (unsigned char)length;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // RFC 7301 3.2: no_application_protocol
}

void tg_context_select_alpn(SSL_CTX *context, tg_buffer *wire) {
    SSL_CTX_set_alpn_select_cb(context, select_alpn, wire);
}
