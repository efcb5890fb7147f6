#pragma once
/// Heap allocations that the calling thread has made so far; -1 where a sanitizer owns malloc.
long allocations_of_this_thread(void);
/// Nanoseconds of processor time that the calling thread has used.
long long processor_nanoseconds_of_this_thread(void);
