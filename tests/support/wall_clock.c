/* Preloaded, it gives a process another wall clock: ahead of the real one by as many seconds as a file says, a 64-bit
   number that may change at any moment. A wait until a time of that clock ends as the kernel ends it: when the clock
   comes to that time, and be it by a jump. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN_NANOSECONDS 2000000

static const volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("WALL_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        abort();
    ahead = mapped;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int status = (int)syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exactly;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exactly);
    now->tv_sec = exactly.tv_sec;
    now->tv_usec = exactly.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *stored)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (stored)
        *stored = now.tv_sec;
    return now.tv_sec;
}

static int has_come(const struct timespec *until)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    for (;;) {
        struct timespec look_again;
        if (sem_trywait(semaphore) == 0)
            return 0;
        if (has_come(until)) {
            errno = ETIMEDOUT;
            return -1;
        }
        clock_gettime(CLOCK_MONOTONIC, &look_again);
        look_again.tv_nsec += LOOK_AGAIN_NANOSECONDS;
        if (look_again.tv_nsec >= 1000000000) {
            look_again.tv_nsec -= 1000000000;
            look_again.tv_sec += 1;
        }
        if (sem_clockwait(semaphore, CLOCK_MONOTONIC, &look_again) == 0)
            return 0;
        if (errno != ETIMEDOUT)
            return -1;
    }
}
