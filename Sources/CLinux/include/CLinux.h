#ifndef TG_CLINUX_H
#define TG_CLINUX_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/epoll.h>
#endif
