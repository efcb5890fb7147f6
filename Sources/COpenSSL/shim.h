#ifndef TG_COPENSSL_H
#define TG_COPENSSL_H
#include <openssl/ssl.h>
#include <openssl/err.h>
#endif
