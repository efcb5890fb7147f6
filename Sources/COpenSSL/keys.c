#include "COpenSSL.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <string.h>

static const EVP_MD *digest_of(tg_algorithm algorithm) {
    switch (algorithm) {
    case tg_rs256: case tg_ps256: case tg_es256: return EVP_sha256();
    case tg_rs384: case tg_ps384: case tg_es384: return EVP_sha384();
    case tg_rs512: case tg_ps512: case tg_es512: return EVP_sha512();
    case tg_eddsa: return NULL;
    }
    return NULL;
}

static bool is_pss(tg_algorithm a) { return a == tg_ps256 || a == tg_ps384 || a == tg_ps512; }

static bool is_elliptic(tg_algorithm a) { return a == tg_es256 || a == tg_es384 || a == tg_es512; }

tg_key_kind tg_key_kind_of(EVP_PKEY *key) {
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA: return tg_key_rsa;
    case EVP_PKEY_ED25519: return tg_key_ed25519;
    case EVP_PKEY_EC: break;
    default: return tg_key_other;
    }
    char name[64];
    size_t count = 0;
    if (EVP_PKEY_get_group_name(key, name, sizeof name, &count) != 1) return tg_key_other;
    switch (OBJ_txt2nid(name)) {
    case NID_X9_62_prime256v1: return tg_key_p256;
    case NID_secp384r1: return tg_key_p384;
    case NID_secp521r1: return tg_key_p521;
    default: return tg_key_other;
    }
}

static const char *group_of(tg_key_kind kind) {
    return kind == tg_key_p256 ? "P-256" : kind == tg_key_p384 ? "P-384" : kind == tg_key_p521 ? "P-521" : NULL;
}

static int width_of(tg_key_kind kind) { return kind == tg_key_p256 ? 32 : kind == tg_key_p384 ? 48 : 66; }

EVP_PKEY *tg_key_generate(tg_key_kind kind, unsigned int bits) {
    switch (kind) {
    case tg_key_rsa: return EVP_RSA_gen(bits);
    case tg_key_ed25519: return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case tg_key_p256: case tg_key_p384: case tg_key_p521: return EVP_EC_gen(group_of(kind));
    case tg_key_other: return NULL;
    }
    return NULL;
}

size_t tg_key_number(EVP_PKEY *key, tg_key_part part, unsigned char *octets, size_t room) {
    tg_key_kind kind = tg_key_kind_of(key);
    size_t count = room;
    if (kind == tg_key_ed25519) return EVP_PKEY_get_raw_public_key(key, octets, &count) == 1 ? count : 0;
    const char *name = part == tg_part_n   ? OSSL_PKEY_PARAM_RSA_N
                       : part == tg_part_e ? OSSL_PKEY_PARAM_RSA_E
                       : part == tg_part_x ? OSSL_PKEY_PARAM_EC_PUB_X
                                           : OSSL_PKEY_PARAM_EC_PUB_Y;
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1) return 0;
    int width = kind == tg_key_rsa ? BN_num_bytes(number) : width_of(kind);
    int written = width > 0 && (size_t)width <= room ? BN_bn2binpad(number, octets, width) : 0;
    BN_free(number);
    return written > 0 ? (size_t)written : 0;
}

static EVP_PKEY *from_parameters(const char *type, int selection, OSSL_PARAM_BLD *builder) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    bool made = parameters && context && EVP_PKEY_fromdata_init(context) == 1 &&
                EVP_PKEY_fromdata(context, &key, selection, parameters) == 1;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    if (made) return key;
    EVP_PKEY_free(key);
    return NULL;
}

EVP_PKEY *tg_key_from_rsa(const unsigned char *n, size_t n_count, const unsigned char *e, size_t e_count) {
    EVP_PKEY *key = NULL;
    BIGNUM *modulus = BN_bin2bn(n, (int)n_count, NULL), *exponent = BN_bin2bn(e, (int)e_count, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (modulus && exponent && builder && BN_is_odd(modulus) && BN_is_odd(exponent) && !BN_is_one(exponent) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        key = from_parameters("RSA", EVP_PKEY_PUBLIC_KEY, builder);
    OSSL_PARAM_BLD_free(builder);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

static EVP_PKEY *from_point(const char *group, const unsigned char *point, size_t count, const BIGNUM *scalar) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, count) == 1 &&
        (!scalar || OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, scalar) == 1))
        key = from_parameters("EC", scalar ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, builder);
    OSSL_PARAM_BLD_free(builder);
    return key;
}

EVP_PKEY *tg_key_from_coordinates(tg_key_kind kind, const unsigned char *x, const unsigned char *y) {
    const char *group = group_of(kind);
    if (!group) return NULL;
    int width = width_of(kind);
    unsigned char point[1 + 2 * 66] = {POINT_CONVERSION_UNCOMPRESSED};
    memcpy(point + 1, x, (size_t)width);
    memcpy(point + 1 + width, y, (size_t)width);
    EVP_PKEY *key = from_point(group, point, (size_t)(1 + 2 * width), NULL);
    if (!key) return NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    bool good = context && EVP_PKEY_public_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    if (good) return key;
    EVP_PKEY_free(key);
    return NULL;
}

static EVP_PKEY *p256_from_number(const EC_GROUP *group, const BIGNUM *scalar) {
    unsigned char octets[65];
    const BIGNUM *order = EC_GROUP_get0_order(group);
    if (BN_is_zero(scalar) || BN_cmp(scalar, order) >= 0) return NULL;
    EC_POINT *point = EC_POINT_new(group);
    bool made = point && EC_POINT_mul(group, point, scalar, NULL, NULL, NULL) == 1 &&
                EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, octets, sizeof octets, NULL) ==
                    sizeof octets;
    EC_POINT_free(point);
    return made ? from_point("P-256", octets, sizeof octets, scalar) : NULL;
}

EVP_PKEY *tg_key_from_seed(tg_key_kind kind, const unsigned char *seed) {
    if (kind == tg_key_ed25519) return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    if (kind != tg_key_p256) return NULL;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BIGNUM *scalar = BN_secure_new();
    EVP_PKEY *key = NULL;
    if (group && scalar && BN_bin2bn(seed, 32, scalar)) {
        BN_set_flags(scalar, BN_FLG_CONSTTIME);
        key = p256_from_number(group, scalar);
    }
    BN_clear_free(scalar);
    EC_GROUP_free(group);
    return key;
}

struct tg_signer {
    tg_algorithm algorithm;
    EVP_PKEY *key;
    /// Ready to sign digests, again and again; null for Ed25519, which signs messages.
    EVP_PKEY_CTX *context;
    EVP_MD_CTX *message_context;
    const EVP_MD *digest;
    /// Octets of r and of s.
    int width;
};

static bool suits(tg_algorithm algorithm, tg_key_kind kind) {
    switch (algorithm) {
    case tg_rs256: case tg_rs384: case tg_rs512: case tg_ps256: case tg_ps384: case tg_ps512: return kind == tg_key_rsa;
    case tg_es256: return kind == tg_key_p256;
    case tg_es384: return kind == tg_key_p384;
    case tg_es512: return kind == tg_key_p521;
    case tg_eddsa: return kind == tg_key_ed25519;
    }
    return false;
}

static bool pad(EVP_PKEY_CTX *context, tg_algorithm algorithm, const EVP_MD *digest) {
    if (EVP_PKEY_CTX_set_signature_md(context, digest) != 1) return false;
    if (is_elliptic(algorithm)) return true;
    if (!is_pss(algorithm)) return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

tg_signer *tg_signer_new(EVP_PKEY *key, tg_algorithm algorithm) {
    tg_key_kind kind = tg_key_kind_of(key);
    if (!suits(algorithm, kind)) return NULL;
    tg_signer *signer = calloc(1, sizeof *signer);
    if (!signer) return NULL;
    signer->algorithm = algorithm;
    signer->digest = digest_of(algorithm);
    signer->width = width_of(kind);
    EVP_PKEY_up_ref(key);
    signer->key = key;
    bool ready;
    if (signer->digest) {
        signer->context = EVP_PKEY_CTX_new(key, NULL);
        ready = signer->context && EVP_PKEY_sign_init(signer->context) == 1 &&
                pad(signer->context, algorithm, signer->digest);
    } else {
        ready = (signer->message_context = EVP_MD_CTX_new()) != NULL;
    }
    if (ready) return signer;
    tg_signer_free(signer);
    return NULL;
}

void tg_signer_free(tg_signer *signer) {
    if (!signer) return;
    EVP_PKEY_CTX_free(signer->context);
    EVP_MD_CTX_free(signer->message_context);
    EVP_PKEY_free(signer->key);
    free(signer);
}

/// One INTEGER of a DER signature as `width` octets; null when it does not fit. Returns what follows it.
static const unsigned char *raw_integer(const unsigned char *der, const unsigned char *end, unsigned char *raw,
                                        int width) {
    if (end - der < 2 || der[0] != 0x02 || der[1] >= 0x80 || end - der - 2 < der[1]) return NULL;
    const unsigned char *value = der + 2, *after = value + der[1];
    while (value < after && *value == 0) value++;
    if (after - value > width) return NULL;
    memset(raw, 0, (size_t)width);
    memcpy(raw + width - (after - value), value, (size_t)(after - value));
    return after;
}

/// JWS wants r and s side by side (RFC 7518 section 3.4).
static size_t raw_signature(const unsigned char *der, size_t count, unsigned char *raw, int width) {
    const unsigned char *end = der + count;
    if (count < 2 || der[0] != 0x30) return 0;
    // The sequence of P-521 needs a length of two octets.
    const unsigned char *body = der + (der[1] == 0x81 ? 3 : 2);
    if (der[1] > 0x81 || body > end) return 0;
    body = raw_integer(body, end, raw, width);
    if (body) body = raw_integer(body, end, raw + width, width);
    return body == end ? (size_t)(2 * width) : 0;
}

size_t tg_signer_sign(tg_signer *signer, const unsigned char *message, size_t count, unsigned char *signature,
                      size_t room) {
    size_t written = room;
    if (!signer->digest) {
        return EVP_MD_CTX_reset(signer->message_context) == 1 &&
                       EVP_DigestSignInit(signer->message_context, NULL, NULL, NULL, signer->key) == 1 &&
                       EVP_DigestSign(signer->message_context, signature, &written, message, count) == 1
                   ? written
                   : 0;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_count = 0;
    if (signer->algorithm == tg_es256) {
        // The one that requests wait for: no look-up of the digest by name.
        SHA256(message, count, digest);
        digest_count = SHA256_DIGEST_LENGTH;
    } else if (EVP_Digest(message, count, digest, &digest_count, signer->digest, NULL) != 1) {
        return 0;
    }
    if (!is_elliptic(signer->algorithm))
        return EVP_PKEY_sign(signer->context, signature, &written, digest, digest_count) == 1 ? written : 0;
    unsigned char der[160];
    size_t der_count = sizeof der;
    if (room < (size_t)(2 * signer->width) ||
        EVP_PKEY_sign(signer->context, der, &der_count, digest, digest_count) != 1)
        return 0;
    return raw_signature(der, der_count, signature, signer->width);
}

/// The DER form of r and s; its count, or 0.
static int der_signature(const unsigned char *raw, int width, unsigned char **der) {
    ECDSA_SIG *both = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, width, NULL), *s = BN_bin2bn(raw + width, width, NULL);
    int count = 0;
    if (both && r && s && ECDSA_SIG_set0(both, r, s) == 1) {
        count = i2d_ECDSA_SIG(both, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(both);
    return count > 0 ? count : 0;
}

bool tg_key_verify(EVP_PKEY *key, tg_algorithm algorithm, const unsigned char *message, size_t count,
                   const unsigned char *signature, size_t signature_count) {
    tg_key_kind kind = tg_key_kind_of(key);
    if (!suits(algorithm, kind)) return false;
    unsigned char *der = NULL;
    if (is_elliptic(algorithm)) {
        if (signature_count != (size_t)(2 * width_of(kind))) return false;
        int der_count = der_signature(signature, width_of(kind), &der);
        if (der_count == 0) return false;
        signature = der;
        signature_count = (size_t)der_count;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *inner = NULL;
    const EVP_MD *digest = digest_of(algorithm);
    bool good = context && EVP_DigestVerifyInit(context, &inner, digest, NULL, key) == 1 &&
                (!digest || is_elliptic(algorithm) || pad(inner, algorithm, digest)) &&
                EVP_DigestVerify(context, signature, signature_count, message, count) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return good;
}

size_t tg_key_der(EVP_PKEY *key, unsigned char **der) {
    *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    int count = info ? i2d_PKCS8_PRIV_KEY_INFO(info, der) : 0;
    PKCS8_PRIV_KEY_INFO_free(info);
    return count > 0 ? (size_t)count : 0;
}
