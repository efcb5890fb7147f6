// Counts what OpenSSL allocates on the calling thread. For tests only.
#ifndef TG_COPENSSL_TESTING_H
#define TG_COPENSSL_TESTING_H

typedef struct tg_allocations {
    long made;
    long live;
} tg_allocations;

/// Since the thread began; all zero where OpenSSL did not take the counting functions.
tg_allocations tg_allocations_now(void);

#endif
