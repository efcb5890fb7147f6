#include "COpenSSLTesting.h"

#include <openssl/crypto.h>
#include <stdlib.h>

static _Thread_local tg_allocations counted;

static void *counting_malloc(size_t size, const char *file, int line) {
    (void)file, (void)line;
    counted.made++;
    counted.live++;
    return malloc(size);
}

static void *counting_realloc(void *memory, size_t size, const char *file, int line) {
    (void)file, (void)line;
    counted.made++;
    if (!memory) counted.live++;
    return realloc(memory, size);
}

static void counting_free(void *memory, const char *file, int line) {
    (void)file, (void)line;
    if (memory) counted.live--;
    free(memory);
}

// OpenSSL takes other functions only before its first allocation.
__attribute__((constructor)) static void install(void) {
    CRYPTO_set_mem_functions(counting_malloc, counting_realloc, counting_free);
}

tg_allocations tg_allocations_now(void) { return counted; }
