// The package manager asks for a source file; the library itself is the system's.
#include "CPostgreSQL.h"
