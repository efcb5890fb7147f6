#pragma once
/// Instructions that the calling thread has executed in user mode since the first call; -1 where the processor's
/// counters cannot be had (virtual machines without them, perf_event_paranoid).
long long instructions_of_this_thread(void);
