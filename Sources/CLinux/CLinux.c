#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY(result, call)                        \
    do {                                           \
        result = (call);                           \
    } while (result < 0 && errno == EINTR)
#define OR_ERRNO(result) ((result) < 0 ? -errno : (result))

// ---- epoll ----

_Static_assert(sizeof(tg_event) == sizeof(struct epoll_event), "tg_event mirrors epoll_event");
_Static_assert(offsetof(tg_event, bits) == offsetof(struct epoll_event, events), "tg_event mirrors epoll_event");
_Static_assert(offsetof(tg_event, token) == offsetof(struct epoll_event, data), "tg_event mirrors epoll_event");
// Swift's Readiness has the same numbers.
_Static_assert(
    EPOLLIN == 0x001 && EPOLLOUT == 0x004 && EPOLLERR == 0x008 && EPOLLHUP == 0x010 && EPOLLRDHUP == 0x2000,
    "Readiness mirrors the bits of epoll");

int tg_epoll_create(void) {
    int result = epoll_create1(EPOLL_CLOEXEC);
    return OR_ERRNO(result);
}

int tg_epoll_add(int poller, int descriptor, int kind, uint64_t token) {
    struct epoll_event event = {.data.u64 = token};
    switch (kind) {
    case TG_POLL_CONNECTION: event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET; break;
    case TG_POLL_LISTENER: event.events = EPOLLIN; break;
    case TG_POLL_SHARED_LISTENER: event.events = EPOLLIN | EPOLLEXCLUSIVE; break;
    default: return -EINVAL;
    }
    int result = epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
    return OR_ERRNO(result);
}

int tg_epoll_remove(int poller, int descriptor) {
    int result = epoll_ctl(poller, EPOLL_CTL_DEL, descriptor, NULL);
    return OR_ERRNO(result);
}

int tg_epoll_wait(int poller, tg_event *events, int capacity, int timeout_ms) {
    int result = epoll_wait(poller, (struct epoll_event *)events, capacity, timeout_ms);
    if (result < 0 && errno == EINTR) return 0;
    return OR_ERRNO(result);
}

// ---- eventfd ----

int tg_eventfd(void) {
    int result = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return OR_ERRNO(result);
}

int tg_semaphore(void) {
    int result = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    return OR_ERRNO(result);
}

int tg_eventfd_add(int descriptor, uint64_t amount) {
    ssize_t result;
    RETRY(result, write(descriptor, &amount, sizeof amount));
    return result < 0 ? -errno : 0;
}

int tg_eventfd_clear(int descriptor) {
    uint64_t value;
    ssize_t result;
    RETRY(result, read(descriptor, &value, sizeof value));
    return result < 0 ? -errno : 0;
}

int tg_semaphore_wait(int descriptor) { return tg_eventfd_clear(descriptor); }

// ---- signals ----

int tg_signalfd(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) {
        if (sigaddset(&set, signals[i]) < 0) return -errno;
    }
    int failure = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (failure != 0) return -failure;
    int result = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return OR_ERRNO(result);
}

int tg_signalfd_next(int descriptor) {
    struct signalfd_siginfo info;
    ssize_t result;
    RETRY(result, read(descriptor, &info, sizeof info));
    if (result < 0) return -errno;
    return result == (ssize_t)sizeof info ? (int)info.ssi_signo : -EIO;
}

int tg_ignore_broken_pipes(void) {
    struct sigaction action = {.sa_handler = SIG_IGN};
    int result = sigaction(SIGPIPE, &action, NULL);
    return OR_ERRNO(result);
}

// ---- threads ----

struct thread_start {
    void (*entry)(void *);
    void *argument;
    char name[16];
};

static void *thread_main(void *raw) {
    struct thread_start start = *(struct thread_start *)raw;
    free(raw);
    pthread_setname_np(pthread_self(), start.name);
    start.entry(start.argument);
    return NULL;
}

// All signals except those that a faulting instruction raises in its own thread.
static void asynchronous_signals(sigset_t *set) {
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigfillset(set);
    for (size_t i = 0; i < sizeof synchronous / sizeof synchronous[0]; i++) sigdelset(set, synchronous[i]);
}

int tg_thread_start(const char *name, void (*entry)(void *), void *argument, uint64_t *thread) {
    struct thread_start *start = malloc(sizeof *start);
    if (start == NULL) return -ENOMEM;
    start->entry = entry;
    start->argument = argument;
    snprintf(start->name, sizeof start->name, "%s", name);
    // A new thread inherits its creator's mask; blocking here leaves no moment in which it could take a signal.
    sigset_t blocked, previous;
    asynchronous_signals(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, &previous);
    pthread_t created;
    int failure = pthread_create(&created, NULL, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    if (failure != 0) {
        free(start);
        return -failure;
    }
    *thread = (uint64_t)created;
    return 0;
}

void tg_thread_join(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }

void tg_thread_detach(uint64_t thread) { pthread_detach((pthread_t)thread); }

// ---- addresses ----

static uint64_t load64(const uint8_t *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | bytes[i];
    return value;
}

static void store64(uint64_t value, uint8_t *bytes) {
    for (int i = 7; i >= 0; i--, value >>= 8) bytes[i] = (uint8_t)value;
}

// Returns the length, or 0 when the address does not fit its family.
static socklen_t encode(tg_address address, const char *path, struct sockaddr_storage *storage) {
    memset(storage, 0, sizeof *storage);
    switch (address.family) {
    case TG_FAMILY_V4: {
        struct sockaddr_in *in = (struct sockaddr_in *)storage;
        in->sin_family = AF_INET;
        in->sin_port = htons(address.port);
        in->sin_addr.s_addr = htonl((uint32_t)address.low);
        return sizeof *in;
    }
    case TG_FAMILY_V6: {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)storage;
        in->sin6_family = AF_INET6;
        in->sin6_port = htons(address.port);
        in->sin6_scope_id = address.scope;
        store64(address.high, in->sin6_addr.s6_addr);
        store64(address.low, in->sin6_addr.s6_addr + 8);
        return sizeof *in;
    }
    case TG_FAMILY_UNIX: {
        struct sockaddr_un *un = (struct sockaddr_un *)storage;
        size_t length = path == NULL ? 0 : strlen(path);
        if (length == 0 || length >= sizeof un->sun_path) return 0;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, path, length + 1);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    }
    default:
        return 0;
    }
}

// An IPv4 address in its IPv6 form (::ffff:a.b.c.d) is given as the IPv4 address that it is.
static void decode_v6(const uint8_t *bytes, uint32_t scope, tg_address *address) {
    uint64_t high = load64(bytes), low = load64(bytes + 8);
    if (high == 0 && low >> 32 == 0xffff) {
        address->family = TG_FAMILY_V4;
        address->low = low & 0xffffffff;
        return;
    }
    address->family = TG_FAMILY_V6;
    address->scope = scope;
    address->high = high;
    address->low = low;
}

static void decode(const struct sockaddr_storage *storage, socklen_t length, tg_address *address, char *path) {
    memset(address, 0, sizeof *address);
    if (length < sizeof(sa_family_t)) return;
    switch (storage->ss_family) {
    case AF_INET: {
        const struct sockaddr_in *in = (const struct sockaddr_in *)storage;
        address->family = TG_FAMILY_V4;
        address->port = ntohs(in->sin_port);
        address->low = ntohl(in->sin_addr.s_addr);
        return;
    }
    case AF_INET6: {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)storage;
        decode_v6(in->sin6_addr.s6_addr, in->sin6_scope_id, address);
        address->port = ntohs(in->sin6_port);
        return;
    }
    case AF_UNIX: {
        const struct sockaddr_un *un = (const struct sockaddr_un *)storage;
        address->family = TG_FAMILY_UNIX;
        if (path == NULL) return;
        size_t used = length - offsetof(struct sockaddr_un, sun_path);
        if (used > TG_UNIX_PATH_CAPACITY) used = TG_UNIX_PATH_CAPACITY;
        memset(path, 0, TG_UNIX_PATH_CAPACITY + 1);
        memcpy(path, un->sun_path, used);
        return;
    }
    }
}

int tg_parse_ip(const char *text, tg_address *address) {
    memset(address, 0, sizeof *address);
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        address->family = TG_FAMILY_V4;
        address->low = ntohl(v4.s_addr);
        return 1;
    }
    char host[INET6_ADDRSTRLEN];
    const char *percent = strchr(text, '%');
    size_t length = percent == NULL ? strlen(text) : (size_t)(percent - text);
    if (length >= sizeof host) return 0;
    memcpy(host, text, length);
    host[length] = 0;
    uint8_t v6[16];
    if (inet_pton(AF_INET6, host, v6) != 1) return 0;
    uint32_t scope = 0;
    if (percent != NULL) {
        char *end;
        unsigned long index = strtoul(percent + 1, &end, 10);
        if (end == percent + 1 || *end != 0) index = if_nametoindex(percent + 1);
        if (index == 0 || index > UINT32_MAX) return 0;
        scope = (uint32_t)index;
    }
    decode_v6(v6, scope, address);
    return 1;
}

int tg_format_ip(tg_address address, char *buffer) {
    if (address.family == TG_FAMILY_V4) {
        struct in_addr v4 = {.s_addr = htonl((uint32_t)address.low)};
        return inet_ntop(AF_INET, &v4, buffer, TG_IP_TEXT_CAPACITY) == NULL ? 0 : (int)strlen(buffer);
    }
    if (address.family != TG_FAMILY_V6) return 0;
    uint8_t v6[16];
    store64(address.high, v6);
    store64(address.low, v6 + 8);
    return inet_ntop(AF_INET6, v6, buffer, TG_IP_TEXT_CAPACITY) == NULL ? 0 : (int)strlen(buffer);
}

// ---- sockets ----

int tg_socket(int32_t family) {
    int domain = family == TG_FAMILY_V4 ? AF_INET : family == TG_FAMILY_V6 ? AF_INET6 : AF_UNIX;
    int result = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return OR_ERRNO(result);
}

static int option_name(int option, int *level) {
    *level = SOL_SOCKET;
    switch (option) {
    case TG_OPTION_REUSE_ADDRESS: return SO_REUSEADDR;
    case TG_OPTION_REUSE_PORT: return SO_REUSEPORT;
    case TG_OPTION_KEEP_ALIVE: return SO_KEEPALIVE;
    case TG_OPTION_V6_ONLY: *level = IPPROTO_IPV6; return IPV6_V6ONLY;
    }
    *level = IPPROTO_TCP;
    switch (option) {
    case TG_OPTION_NO_DELAY: return TCP_NODELAY;
    case TG_OPTION_KEEP_ALIVE_IDLE: return TCP_KEEPIDLE;
    case TG_OPTION_KEEP_ALIVE_INTERVAL: return TCP_KEEPINTVL;
    case TG_OPTION_KEEP_ALIVE_COUNT: return TCP_KEEPCNT;
    case TG_OPTION_USER_TIMEOUT: return TCP_USER_TIMEOUT;
    }
    return -1;
}

int tg_set_option(int descriptor, int option, int value) {
    int level, name = option_name(option, &level);
    int result = setsockopt(descriptor, level, name, &value, sizeof value);
    return OR_ERRNO(result);
}

int tg_bind(int descriptor, tg_address address, const char *path) {
    struct sockaddr_storage storage;
    socklen_t length = encode(address, path, &storage);
    if (length == 0) return -ENAMETOOLONG;
    int result = bind(descriptor, (struct sockaddr *)&storage, length);
    return OR_ERRNO(result);
}

int tg_listen(int descriptor, int backlog) {
    int result = listen(descriptor, backlog);
    return OR_ERRNO(result);
}

int tg_connect(int descriptor, tg_address address, const char *path) {
    struct sockaddr_storage storage;
    socklen_t length = encode(address, path, &storage);
    if (length == 0) return -ENAMETOOLONG;
    int result = connect(descriptor, (struct sockaddr *)&storage, length);
    // An interrupted connect goes on by itself.
    if (result < 0 && errno == EINTR) return -EINPROGRESS;
    return OR_ERRNO(result);
}

// Errors that belong to the one connection that was waiting: it is gone, the next one may be good (accept(2)).
static int concerns_one_connection(int code) {
    switch (code) {
    case EINTR: case ECONNABORTED: case EPROTO: case EPERM: case ENOPROTOOPT:
    case ENETDOWN: case ENETUNREACH: case EHOSTDOWN: case EHOSTUNREACH: case ENONET:
        return 1;
    }
    return 0;
}

int tg_accept(int descriptor, tg_address *peer) {
    // Bounded, so that a kernel that keeps failing cannot hold the loop: a level-triggered listener reports again.
    for (int attempt = 0; attempt < 64; attempt++) {
        struct sockaddr_storage storage;
        socklen_t length = sizeof storage;
        int result = accept4(descriptor, (struct sockaddr *)&storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (result >= 0) {
            decode(&storage, length, peer, NULL);
            return result;
        }
        if (!concerns_one_connection(errno)) return -errno;
    }
    return -EAGAIN;
}

int tg_local_address(int descriptor, tg_address *address, char *path) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getsockname(descriptor, (struct sockaddr *)&storage, &length) < 0) return -errno;
    decode(&storage, length, address, path);
    return 0;
}

int tg_peer_address(int descriptor, tg_address *address, char *path) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getpeername(descriptor, (struct sockaddr *)&storage, &length) < 0) return -errno;
    decode(&storage, length, address, path);
    return 0;
}

int tg_pending_error(int descriptor) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &value, &length) < 0 ? errno : value;
}

int64_t tg_receive(int descriptor, void *buffer, size_t count) {
    ssize_t result;
    RETRY(result, recv(descriptor, buffer, count, 0));
    return OR_ERRNO(result);
}

int64_t tg_send(int descriptor, const void *buffer, size_t count) {
    ssize_t result;
    RETRY(result, send(descriptor, buffer, count, MSG_NOSIGNAL));
    return OR_ERRNO(result);
}

int64_t tg_send_two(int descriptor, const void *first, size_t first_count, const void *second, size_t second_count) {
    struct iovec parts[2] = {
        {.iov_base = (void *)first, .iov_len = first_count},
        {.iov_base = (void *)second, .iov_len = second_count},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t result;
    RETRY(result, sendmsg(descriptor, &message, MSG_NOSIGNAL));
    return OR_ERRNO(result);
}

int tg_shutdown_writing(int descriptor) {
    int result = shutdown(descriptor, SHUT_WR);
    return OR_ERRNO(result);
}

int tg_reset_on_close(int descriptor) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int result = setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    return OR_ERRNO(result);
}

int tg_unix_peer(int descriptor, uint32_t *user, uint32_t *group, int32_t *process) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    // A TCP socket answers too, with nobody in it.
    if (credentials.pid == 0 && credentials.uid == (uid_t)-1) return -ENOTCONN;
    *user = credentials.uid;
    *group = credentials.gid;
    *process = credentials.pid;
    return 0;
}

int tg_notify(const char *path, const void *message, size_t count) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof un.sun_path || (path[0] != '/' && path[0] != '@')) return -EINVAL;
    memcpy(un.sun_path, path, length);
    if (path[0] == '@') un.sun_path[0] = 0;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '@' ? 0 : 1));
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    ssize_t result;
    RETRY(result, sendto(descriptor, message, count, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&un, size));
    int failure = result < 0 ? -errno : 0;
    close(descriptor);
    return failure;
}

int tg_lookup(const char *host, tg_address *addresses, int capacity, int *error) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    errno = 0;
    int code = getaddrinfo(host, NULL, &hints, &list);
    if (code != 0) {
        *error = errno;
        return code;
    }
    int count = 0;
    for (struct addrinfo *entry = list; entry != NULL && count < capacity; entry = entry->ai_next) {
        struct sockaddr_storage storage = {0};
        if (entry->ai_addrlen > sizeof storage) continue;
        memcpy(&storage, entry->ai_addr, entry->ai_addrlen);
        decode(&storage, entry->ai_addrlen, &addresses[count], NULL);
        if (addresses[count].family != TG_FAMILY_NONE) count++;
    }
    freeaddrinfo(list);
    return count;
}

int tg_lookup_means_not_found(int code) { return code == EAI_NONAME || code == EAI_NODATA || code == EAI_ADDRFAMILY; }

int tg_lookup_means_system_error(int code) { return code == EAI_SYSTEM; }

const char *tg_lookup_text(int code) { return gai_strerror(code); }

// ---- files ----

// Linux closes the descriptor even when it reports EINTR; a second try could close another thread's new descriptor.
int tg_close(int descriptor) { return close(descriptor) < 0 && errno != EINTR ? -errno : 0; }

int tg_open_reading(const char *path) {
    int result;
    RETRY(result, open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
    return OR_ERRNO(result);
}

int tg_open_and_unlink(const char *directory) {
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/.token-gateway-spool-XXXXXX", directory);
    if (length < 0 || length >= (int)sizeof path) return -ENAMETOOLONG;
    int descriptor = mkostemp(path, O_CLOEXEC);
    if (descriptor < 0) return -errno;
    if (unlink(path) < 0) {
        int failure = -errno;
        close(descriptor);
        return failure;
    }
    return descriptor;
}

int tg_open_nameless(const char *directory) {
    int result;
    RETRY(result, open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    return OR_ERRNO(result);
}

int64_t tg_read(int descriptor, void *buffer, size_t count) {
    ssize_t result;
    RETRY(result, read(descriptor, buffer, count));
    return OR_ERRNO(result);
}

int64_t tg_read_at(int descriptor, void *buffer, size_t count, int64_t offset) {
    ssize_t result;
    RETRY(result, pread(descriptor, buffer, count, offset));
    return OR_ERRNO(result);
}

int64_t tg_write_at(int descriptor, const void *buffer, size_t count, int64_t offset) {
    ssize_t result;
    RETRY(result, pwrite(descriptor, buffer, count, offset));
    return OR_ERRNO(result);
}

static void copy_status(const struct stat *from, tg_file_status *to) {
    to->device = from->st_dev;
    to->inode = from->st_ino;
    to->modified_ns = (int64_t)from->st_mtim.tv_sec * 1000000000 + from->st_mtim.tv_nsec;
    to->size = from->st_size;
    to->mode = from->st_mode;
    to->owner = from->st_uid;
    to->group = from->st_gid;
}

int tg_status(const char *path, tg_file_status *status) {
    struct stat found;
    if (stat(path, &found) < 0) return -errno;
    copy_status(&found, status);
    return 0;
}

int tg_is_socket(uint32_t mode) { return S_ISSOCK(mode); }

int tg_set_mode(const char *path, uint32_t mode) {
    int result = chmod(path, mode);
    return OR_ERRNO(result);
}

int tg_set_mode_of(int descriptor, uint32_t mode) {
    int result = fchmod(descriptor, mode);
    return OR_ERRNO(result);
}

int tg_unlink(const char *path) {
    int result = unlink(path);
    return OR_ERRNO(result);
}

// ---- the process ----

uint64_t tg_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t tg_wall_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int tg_processor_count(void) {
    // The fixed set holds 1,024 processors; a larger machine makes the call fail and its online count is used.
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (int)online;
}

int tg_forbid_core_dumps(void) {
    struct rlimit none = {0, 0};
    int limited = setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
    int marked = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
    return limited < 0 ? limited : marked;
}

int tg_end_with_parent(int parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -errno;
    // It may have ended before the kernel was told.
    return getppid() == parent ? 0 : -ESRCH;
}

int64_t tg_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    if (limit.rlim_cur != limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    return limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
}

int64_t tg_random(void *buffer, size_t count) {
    ssize_t result;
    RETRY(result, getrandom(buffer, count, 0));
    return OR_ERRNO(result);
}

const char *tg_errno_name(int code) { return strerrorname_np(code); }

const char *tg_errno_text(int code) { return strerrordesc_np(code); }
