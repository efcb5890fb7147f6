// Facts of certificates for messages, and the two steps of certificate building that are macros in C.
#define _POSIX_C_SOURCE 200809L  // the standard strerror_r
#include "COpenSSL.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { most_names = 8 };

// Appends at most what fits. Octets that are not printable become '?': the text comes from a peer and goes to a log.
static void append(char *text, size_t capacity, const char *part, size_t count) {
    size_t used = strlen(text);
    for (size_t i = 0; i < count && used + 1 < capacity; i++) {
        unsigned char octet = (unsigned char)part[i];
        text[used++] = octet >= 0x20 && octet < 0x7f ? (char)octet : '?';
    }
    text[used] = 0;
}

static void address_text(const ASN1_STRING *address, char text[INET6_ADDRSTRLEN]) {
    const unsigned char *octets = ASN1_STRING_get0_data(address);
    int length = ASN1_STRING_length(address);
    strcpy(text, "?");
    if (length == 4) inet_ntop(AF_INET, octets, text, INET6_ADDRSTRLEN);
    if (length == 16) inet_ntop(AF_INET6, octets, text, INET6_ADDRSTRLEN);
}

static void append_name(const GENERAL_NAME *name, char *text, size_t capacity) {
    if (name->type == GEN_DNS) {
        append(text, capacity, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
               (size_t)ASN1_STRING_length(name->d.dNSName));
        return;
    }
    char address[INET6_ADDRSTRLEN];
    address_text(name->d.iPAddress, address);
    append(text, capacity, address, strlen(address));
}

void tg_x509_names(X509 *certificate, char *text, size_t capacity) {
    if (capacity == 0) return;
    text[0] = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int written = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS && name->type != GEN_IPADD) continue;
        if (written > 0) append(text, capacity, ", ", 2);
        if (written == most_names) {
            append(text, capacity, "...", 3);
            break;
        }
        append_name(name, text, capacity);
        written++;
    }
    GENERAL_NAMES_free(names);
}

static bool keep_name(tg_buffer *names, char kind, const unsigned char *text, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f) return true;
    if (!tg_buffer_reserve(names, names->count + count + 2)) return false;
    names->bytes[names->count++] = (unsigned char)kind;
    memcpy(names->bytes + names->count, text, count);
    names->count += count;
    names->bytes[names->count++] = 0;
    return true;
}

static bool keep_alternative(tg_buffer *names, const GENERAL_NAME *name) {
    if (name->type == GEN_IPADD) {
        char address[INET6_ADDRSTRLEN];
        address_text(name->d.iPAddress, address);
        return keep_name(names, 'I', (const unsigned char *)address, strlen(address));
    }
    char kind = name->type == GEN_DNS ? 'D' : name->type == GEN_URI ? 'U' : name->type == GEN_EMAIL ? 'E' : 0;
    if (kind == 0) return true;
    const ASN1_IA5STRING *text = name->d.ia5;
    return keep_name(names, kind, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

bool tg_x509_alternatives(X509 *certificate, tg_buffer *names) {
    GENERAL_NAMES *list = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool kept = true;
    for (int i = 0; kept && i < sk_GENERAL_NAME_num(list); i++)
        kept = keep_alternative(names, sk_GENERAL_NAME_value(list, i));
    GENERAL_NAMES_free(list);
    return kept;
}

int64_t tg_x509_seconds(X509 *certificate, bool end) {
    struct tm parts;
    if (ASN1_TIME_to_tm(end ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), &parts) != 1)
        return INT64_MIN;
    // Days since 1970 of the proleptic Gregorian calendar: timegm is not in POSIX.
    int64_t year = parts.tm_year + 1900 - (parts.tm_mon < 2);
    int64_t month = (parts.tm_mon + 10) % 12;
    int64_t days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + parts.tm_mday - 1 - 719468;
    return days * 86400 + parts.tm_hour * 3600 + parts.tm_min * 60 + parts.tm_sec;
}

void tg_x509_subject(X509 *certificate, bool issuer, char *text, size_t capacity) {
    if (capacity == 0) return;
    text[0] = 0;
    X509_NAME *name = issuer ? X509_get_issuer_name(certificate) : X509_get_subject_name(certificate);
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && name && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        char *bytes = NULL;
        size_t count = tg_bio_bytes(bio, &bytes);
        append(text, capacity, bytes, count);
    }
    BIO_free(bio);
}

void tg_x509_time(X509 *certificate, bool end, char *text, size_t capacity) {
    if (capacity == 0) return;
    text[0] = 0;
    struct tm parts;
    if (ASN1_TIME_to_tm(end ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), &parts) != 1) return;
    if (strftime(text, capacity, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) text[0] = 0;
}

void tg_system_error(int number, char *text, size_t capacity) {
    if (capacity == 0) return;
    if (strerror_r(number, text, capacity) != 0) snprintf(text, capacity, "system error %d", number);
}

bool tg_x509_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return added;
}

EVP_PKEY *tg_generate_p256(void) { return EVP_EC_gen("P-256"); }
