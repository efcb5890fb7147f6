#ifndef TG_CPOSTGRESQL_H
#define TG_CPOSTGRESQL_H

// libpq, the client library of PostgreSQL. Debian keeps its header in a directory of its own.
#if __has_include(<libpq-fe.h>)
#include <libpq-fe.h>
#else
#include <postgresql/libpq-fe.h>
#endif

#endif
