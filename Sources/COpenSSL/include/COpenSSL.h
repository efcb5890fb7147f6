// What OpenSSLKit needs of OpenSSL 3: the headers, the macros that Swift does not import, and one TLS connection
// that reads from and writes to memory. Only OpenSSLKit imports this module.
#ifndef TG_COPENSSL_H
#define TG_COPENSSL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/// A growable block of bytes. `bytes` is null while the capacity is 0.
typedef struct tg_buffer {
    unsigned char *bytes;
    size_t count;
    size_t capacity;
} tg_buffer;

/// Makes room for `capacity` bytes in all. False when the memory cannot be had; the buffer is then as before.
bool tg_buffer_reserve(tg_buffer *buffer, size_t capacity);
void tg_buffer_free(tg_buffer *buffer);

/// One TLS connection. `input` and `output` are set only for the length of a call.
typedef struct tg_tls {
    SSL *ssl;
    const unsigned char *input;
    size_t input_count;
    tg_buffer *output;
    /// The newest session that the peer has given; owned; null when taken.
    SSL_SESSION *session;
    /// The certificate that verification refused, owned, with the X509_V_ERR code and its depth in the chain.
    X509 *rejected;
    int verify_error;
    int verify_depth;
    /// Nothing more can be decrypted before new input comes.
    bool drained;
} tg_tls;

/// Null when OpenSSL cannot make the connection.
tg_tls *tg_tls_new(SSL_CTX *context, bool server);
void tg_tls_free(tg_tls *tls);

// The calls below clear the thread's error queue first, and return an SSL_ERROR code (SSL_ERROR_NONE is success).
// `consumed` and `produced` are always set.
int tg_tls_handshake(tg_tls *tls, const void *input, size_t count, tg_buffer *output, size_t *consumed);
/// Decrypts until `room` is full (SSL_ERROR_NONE) or the input is used up (SSL_ERROR_WANT_READ).
int tg_tls_receive(tg_tls *tls, const void *input, size_t count, void *plaintext, size_t room, tg_buffer *output,
                   size_t *consumed, size_t *produced);
/// SSL_ERROR_WANT_READ: a message of the peer is half read, nothing was sent.
int tg_tls_send(tg_tls *tls, const void *plaintext, size_t count, tg_buffer *output);
/// Sends close_notify, once, and only on an established connection.
void tg_tls_close(tg_tls *tls, tg_buffer *output);

/// What is asked of the peer's certificate.
typedef enum { tg_verify_none, tg_verify_optional, tg_verify_required } tg_verify;

/// Session tickets go to `tg_tls.session`, and refused certificates to `tg_tls.rejected`.
void tg_context_prepare(SSL_CTX *context, tg_verify verify);
/// The server takes its first name in `wire` (length-prefixed names) that the client offers. `wire` must outlive the
/// context's last connection.
void tg_context_select_alpn(SSL_CTX *context, tg_buffer *wire);

enum { tg_session_context_bytes = 32 };

typedef struct tg_ticket_key {
    unsigned char name[16];
    unsigned char mac[32];
    unsigned char cipher[32];
} tg_ticket_key;

/// The contexts of one listener, one per certificate. Everything but the contexts' contents is set before the first
/// `tg_server_attach` and then read by the callbacks.
typedef struct tg_server {
    /// Owned.
    SSL_CTX **contexts;
    size_t count;
    /// Length-prefixed names, most wanted first.
    tg_buffer alpn;
    /// The first seals tickets, both open them; with none there are no tickets.
    tg_ticket_key keys[2];
    size_t key_count;
    /// Which context answers a caller that asks for `name`, which is not terminated (`count` 0: it asks for none).
    /// Fills the `tg_session_context_bytes` that a session must agree with to be resumed.
    size_t (*choose)(const void *owner, const unsigned char *name, size_t count, unsigned char *session_context);
    const void *owner;
} tg_server;

/// Null when there is no memory.
tg_server *tg_server_new(size_t count);
/// Only after the last connection.
void tg_server_free(tg_server *server);
/// Takes `context` over and sets its callbacks.
void tg_server_attach(tg_server *server, size_t index, SSL_CTX *context);

// Facts of a certificate, as printable ASCII in `text`, which is always terminated.
void tg_x509_names(X509 *certificate, char *text, size_t capacity);
void tg_x509_subject(X509 *certificate, bool issuer, char *text, size_t capacity);
void tg_x509_time(X509 *certificate, bool end, char *text, size_t capacity);

/// Appends the names of subjectAltName: for each its kind ('D' DNS, 'U' URI, 'E' mail, 'I' address), the text and a
/// zero. Names with octets that are not printable ASCII are left out. False when there is no memory.
bool tg_x509_alternatives(X509 *certificate, tg_buffer *names);
/// When it begins or ends to be valid, in seconds since 1970; INT64_MIN when that cannot be read.
int64_t tg_x509_seconds(X509 *certificate, bool end);

/// The text of an errno value, for example "No such file or directory".
void tg_system_error(int number, char *text, size_t capacity);

/// The extension `nid` with a value in the syntax of x509v3_config(5).
bool tg_x509_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value);
EVP_PKEY *tg_generate_p256(void);

/// The signature algorithms of RFC 7518 section 3.1 and RFC 8037.
typedef enum {
    tg_rs256, tg_rs384, tg_rs512, tg_ps256, tg_ps384, tg_ps512, tg_es256, tg_es384, tg_es512, tg_eddsa
} tg_algorithm;

typedef enum { tg_key_rsa, tg_key_p256, tg_key_p384, tg_key_p521, tg_key_ed25519, tg_key_other } tg_key_kind;

typedef enum { tg_part_n, tg_part_e, tg_part_x, tg_part_y } tg_key_part;

tg_key_kind tg_key_kind_of(EVP_PKEY *key);
/// `bits` is for RSA. Null when OpenSSL cannot.
EVP_PKEY *tg_key_generate(tg_key_kind kind, unsigned int bits);
/// A public number of the key: n and e without leading zeros, x and y as wide as the curve. The count of octets, or 0.
size_t tg_key_number(EVP_PKEY *key, tg_key_part part, unsigned char *octets, size_t room);
EVP_PKEY *tg_key_from_rsa(const unsigned char *n, size_t n_count, const unsigned char *e, size_t e_count);
/// `x` and `y` are as wide as the curve. Null when the point is not on it.
EVP_PKEY *tg_key_from_coordinates(tg_key_kind kind, const unsigned char *x, const unsigned char *y);
/// A private key from 32 octets: the scalar of P-256 (null when it is out of range), or the seed of Ed25519.
EVP_PKEY *tg_key_from_seed(tg_key_kind kind, const unsigned char *seed);
/// PKCS#8, to be cleansed and freed with OPENSSL_clear_free. The count of octets, or 0.
size_t tg_key_der(EVP_PKEY *key, unsigned char **der);

/// A private key with everything made ready that can be made ready before a message comes. Not for two threads at once.
typedef struct tg_signer tg_signer;
/// Null when the algorithm does not suit the key.
tg_signer *tg_signer_new(EVP_PKEY *key, tg_algorithm algorithm);
void tg_signer_free(tg_signer *signer);
/// The signature in the form of JWS. The count of octets, or 0.
size_t tg_signer_sign(tg_signer *signer, const unsigned char *message, size_t count, unsigned char *signature,
                      size_t room);
bool tg_key_verify(EVP_PKEY *key, tg_algorithm algorithm, const unsigned char *message, size_t count,
                   const unsigned char *signature, size_t signature_count);

// Macros, as functions.
static inline int tg_set_minimum_version(SSL_CTX *c, int version) { return SSL_CTX_set_min_proto_version(c, version); }
static inline int tg_set_maximum_version(SSL_CTX *c, int version) { return SSL_CTX_set_max_proto_version(c, version); }
static inline long tg_set_mode(SSL_CTX *c, long mode) { return SSL_CTX_set_mode(c, mode); }
static inline long tg_set_read_ahead(SSL_CTX *c, int on) { return SSL_CTX_set_read_ahead(c, on); }
static inline long tg_set_cache_mode(SSL_CTX *c, long mode) { return SSL_CTX_set_session_cache_mode(c, mode); }
static inline int tg_set_groups(SSL_CTX *c, const char *list) { return (int)SSL_CTX_set1_groups_list(c, list); }
static inline int tg_set_server_name(SSL *s, const char *name) { return (int)SSL_set_tlsext_host_name(s, name); }
static inline int tg_add_chain_certificate(SSL_CTX *c, X509 *x) { return (int)SSL_CTX_add0_chain_cert(c, x); }
static inline int tg_error_library(unsigned long code) { return ERR_GET_LIB(code); }
static inline int tg_error_reason(unsigned long code) { return ERR_GET_REASON(code); }
static inline size_t tg_bio_bytes(BIO *bio, char **bytes) {
    long count = BIO_get_mem_data(bio, bytes);
    return count > 0 ? (size_t)count : 0;
}
static inline int tg_bio_rewind(BIO *bio) { return (int)BIO_reset(bio); }
static inline uint64_t tg_hardening_options(void) {
    return SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE;
}

#endif
