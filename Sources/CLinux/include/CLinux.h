#ifndef TG_CLINUX_H
#define TG_CLINUX_H
#include <stddef.h>
#include <stdint.h>

// The system calls that Reactor needs and that Swift's Glibc module does not offer, or offers through macros and
// variadic functions. The convention of every function that returns an int or int64_t: zero or more is success, less
// than zero is the negated errno. EINTR is retried here, except in tg_epoll_wait, where it counts as "no events".
// No system header is included: under _GNU_SOURCE their types differ from the ones in Swift's Glibc module.

// ---- epoll ----

// The kernel's struct epoll_event; the .c file asserts that the two agree.
typedef struct {
    uint32_t bits;
    uint64_t token;
}
#ifdef __x86_64__
__attribute__((packed))
#endif
tg_event;

enum { TG_POLL_CONNECTION, TG_POLL_LISTENER, TG_POLL_SHARED_LISTENER };

int tg_epoll_create(void);
int tg_epoll_add(int poller, int descriptor, int kind, uint64_t token);
int tg_epoll_remove(int poller, int descriptor);
int tg_epoll_wait(int poller, tg_event *events, int capacity, int timeout_ms);

// ---- eventfd ----
int tg_eventfd(void);            // nonblocking counter
int tg_semaphore(void);          // blocking, each wait takes one
int tg_eventfd_add(int descriptor, uint64_t amount);
int tg_eventfd_clear(int descriptor);
int tg_semaphore_wait(int descriptor);

// ---- signals ----
int tg_signalfd(const int *signals, int count);  // blocks the signals in the calling thread
int tg_signalfd_next(int descriptor);            // the signal's number
int tg_ignore_broken_pipes(void);

// ---- threads ----
int tg_thread_start(const char *name, void (*entry)(void *), void *argument, uint64_t *thread);
void tg_thread_join(uint64_t thread);
void tg_thread_detach(uint64_t thread);

// ---- sockets ----
enum { TG_FAMILY_NONE = 0, TG_FAMILY_UNIX = 1, TG_FAMILY_V4 = 4, TG_FAMILY_V6 = 6 };
enum { TG_UNIX_PATH_CAPACITY = 108, TG_IP_TEXT_CAPACITY = 46 };

// An IP address and port in host order; IPv4 in the low 32 bits of `low`. A unix path travels beside it.
typedef struct {
    int32_t family;
    uint32_t scope;
    uint64_t high;
    uint64_t low;
    uint16_t port;
} tg_address;

enum {
    TG_OPTION_REUSE_ADDRESS,
    TG_OPTION_REUSE_PORT,
    TG_OPTION_V6_ONLY,
    TG_OPTION_NO_DELAY,
    TG_OPTION_KEEP_ALIVE,
    TG_OPTION_KEEP_ALIVE_IDLE,
    TG_OPTION_KEEP_ALIVE_INTERVAL,
    TG_OPTION_KEEP_ALIVE_COUNT,
    TG_OPTION_USER_TIMEOUT,
};

int tg_parse_ip(const char *text, tg_address *address);  // 1 when it is a numeric address, else 0
int tg_format_ip(tg_address address, char *buffer);      // length; buffer of TG_IP_TEXT_CAPACITY bytes
int tg_socket(int32_t family);
int tg_set_option(int descriptor, int option, int value);
int tg_bind(int descriptor, tg_address address, const char *path);
int tg_listen(int descriptor, int backlog);
int tg_connect(int descriptor, tg_address address, const char *path);
int tg_accept(int descriptor, tg_address *peer);
int tg_local_address(int descriptor, tg_address *address, char *path);
int tg_peer_address(int descriptor, tg_address *address, char *path);
int tg_pending_error(int descriptor);                    // 0 none, else the errno (not negated)
int64_t tg_receive(int descriptor, void *buffer, size_t count);
int64_t tg_send(int descriptor, const void *buffer, size_t count);
int64_t tg_send_two(int descriptor, const void *first, size_t first_count, const void *second, size_t second_count);
int tg_shutdown_writing(int descriptor);
int tg_reset_on_close(int descriptor);
int tg_unix_peer(int descriptor, uint32_t *user, uint32_t *group, int32_t *process);
int tg_notify(const char *path, const void *message, size_t count);
// getaddrinfo for stream sockets. Returns the count, or the EAI_ code, which is negative; *error gets the errno that
// goes with EAI_SYSTEM.
int tg_lookup(const char *host, tg_address *addresses, int capacity, int *error);
int tg_lookup_means_not_found(int code);
int tg_lookup_means_system_error(int code);
const char *tg_lookup_text(int code);

// ---- files ----
typedef struct {
    uint64_t device;
    uint64_t inode;
    int64_t modified_ns;
    int64_t size;
    uint32_t mode;
    uint32_t owner;
    uint32_t group;
} tg_file_status;

int tg_close(int descriptor);
int tg_open_reading(const char *path);
int tg_open_nameless(const char *directory);    // O_TMPFILE
int tg_open_and_unlink(const char *directory);  // where there is no O_TMPFILE
int64_t tg_read(int descriptor, void *buffer, size_t count);
int64_t tg_read_at(int descriptor, void *buffer, size_t count, int64_t offset);
int64_t tg_write_at(int descriptor, const void *buffer, size_t count, int64_t offset);
int tg_status(const char *path, tg_file_status *status);
int tg_is_socket(uint32_t mode);
int tg_set_mode(const char *path, uint32_t mode);
int tg_set_mode_of(int descriptor, uint32_t mode);
int tg_unlink(const char *path);

// ---- the process ----
uint64_t tg_monotonic_ns(void);
int64_t tg_wall_ns(void);
int tg_processor_count(void);
int tg_forbid_core_dumps(void);
int tg_end_with_parent(int parent);  // the kernel kills this process when that one ends
int64_t tg_raise_descriptor_limit(void);
int64_t tg_random(void *buffer, size_t count);
const char *tg_errno_name(int code);  // "ECONNREFUSED", or NULL
const char *tg_errno_text(int code);  // "Connection refused", or NULL

#endif
