// A listener's contexts: the one that answers is chosen by the name that the caller asks for, before sessions are
// looked at; tickets are sealed with keys that contexts of other threads have too.
#include "COpenSSL.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

tg_server *tg_server_new(size_t count) {
    tg_server *server = calloc(1, sizeof *server);
    if (!server) return NULL;
    server->contexts = calloc(count ? count : 1, sizeof *server->contexts);
    if (!server->contexts) {
        free(server);
        return NULL;
    }
    server->count = count;
    return server;
}

void tg_server_free(tg_server *server) {
    if (!server) return;
    for (size_t i = 0; i < server->count; i++) SSL_CTX_free(server->contexts[i]);
    free(server->contexts);
    tg_buffer_free(&server->alpn);
    OPENSSL_cleanse(server->keys, sizeof server->keys);
    free(server);
}

// ---- the certificate

// RFC 6066 3: a list of 2 octets length, then the type 0, 2 octets length and the name. Whatever else comes is left to
// OpenSSL's own check, which follows; no certificate but the first is given for it.
static size_t asked_name(SSL *ssl, const unsigned char **name) {
    const unsigned char *bytes = NULL;
    size_t count = 0;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &count) || count < 5) return 0;
    size_t list = (size_t)bytes[0] << 8 | bytes[1];
    size_t length = (size_t)bytes[3] << 8 | bytes[4];
    if (list != count - 2 || bytes[2] != TLSEXT_NAMETYPE_host_name || length != count - 5) return 0;
    *name = bytes + 5;
    return length;
}

// Not the servername callback: that one comes after a session was accepted, and so would let a session of one name
// stand for another (CVE-2025-23419 of nginx).
static int choose_context(SSL *ssl, int *alert, void *argument) {
    const tg_server *server = argument;
    const unsigned char *name = NULL;
    size_t count = asked_name(ssl, &name);
    unsigned char session_context[tg_session_context_bytes];
    size_t index = server->choose(server->owner, name, count, session_context);
    SSL_CTX *context = server->contexts[index < server->count ? index : 0];
    if (SSL_set_SSL_CTX(ssl, context) == context &&
        SSL_set_session_id_context(ssl, session_context, sizeof session_context) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

static int acknowledge_name(SSL *ssl, int *alert, void *argument) {
    (void)ssl, (void)alert, (void)argument;
    return SSL_TLSEXT_ERR_OK;
}

// ---- tickets

static int start_ticket(const tg_ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                        int seal) {
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, parameters) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, seal) == 1;
}

static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                      int seal) {
    const tg_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (!server || server->key_count == 0) return -1;
    if (seal) {
        memcpy(name, server->keys[0].name, sizeof server->keys[0].name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return -1;
        return start_ticket(&server->keys[0], iv, cipher, mac, seal) ? 1 : -1;
    }
    for (size_t i = 0; i < server->key_count; i++) {
        if (CRYPTO_memcmp(name, server->keys[i].name, sizeof server->keys[i].name) != 0) continue;
        if (!start_ticket(&server->keys[i], iv, cipher, mac, seal)) return -1;
        // 2: and give a new one, sealed with the first key; with TLS 1.3 each is for one use (RFC 8446 C.4).
        return i == 0 && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
    }
    return 0;  // a full handshake
}

void tg_server_attach(tg_server *server, size_t index, SSL_CTX *context) {
    server->contexts[index] = context;
    SSL_CTX_set_app_data(context, server);
    SSL_CTX_set_client_hello_cb(context, choose_context, server);
    SSL_CTX_set_tlsext_servername_callback(context, acknowledge_name);
    if (server->alpn.count > 0) tg_context_select_alpn(context, &server->alpn);
    if (server->key_count > 0) {
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticket_key);
    } else {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
    }
}
