/* Preloaded into a process: makes the k-th operation that changes a file below a folder fail, tear or kill.

   The operations are counted from `fault_arm` on: open for writing, write, sync, truncate, rename, unlink, mkdir, rmdir.
   That is what SQLite, Python and every library below them call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, FAIL, FULL, TEAR, KILL };

static char folder[PATH_MAX];
static size_t folder_length;
static atomic_long seen;
static long target = -1;
static int mode = COUNT, armed;

void fault_arm(const char *below, long k, int how) {
    snprintf(folder, sizeof folder, "%s", below);
    folder_length = strlen(folder);
    seen = 0;
    target = k;
    mode = how;
    armed = 1;
}

long fault_seen(void) { return seen; }

static int is_below(const char *path) {
    char whole[PATH_MAX];
    if (path == NULL) return 0;
    if (path[0] != '/') {
        char here[PATH_MAX / 2];
        if (getcwd(here, sizeof here) == NULL) return 0;
        if (snprintf(whole, sizeof whole, "%s/%s", here, path) >= (int)sizeof whole) return 0;
        path = whole;
    }
    return strncmp(path, folder, folder_length) == 0;
}

static int is_below_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* 0: go on; an error number: fail with it; -1: tear this write, then die. */
static int fate(int takes_space) {
    long k = atomic_fetch_add(&seen, 1);
    if (mode == FULL) return k >= target && takes_space ? ENOSPC : 0; /* a disk stays full */
    if (k != target) return 0;
    if (mode == FAIL) return EIO;
    if (mode == KILL) kill(getpid(), SIGKILL);
    return mode == TEAR ? -1 : 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define DIE() kill(getpid(), SIGKILL)
#define GUARD(is_it, takes_space, otherwise)                  \
    if (armed && (is_it)) {                                   \
        int told = fate(takes_space);                         \
        if (told > 0) { errno = told; return -1; }            \
        if (told < 0) { otherwise; DIE(); }                   \
    }

ssize_t write(int fd, const void *bytes, size_t count) {
    GUARD(is_below_fd(fd), 1, NEXT(write)(fd, bytes, count / 2))
    return NEXT(write)(fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    GUARD(is_below_fd(fd), 1, NEXT(pwrite)(fd, bytes, count / 2, at))
    return NEXT(pwrite)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    GUARD(is_below_fd(fd), 1, NEXT(pwrite64)(fd, bytes, count / 2, at))
    return NEXT(pwrite64)(fd, bytes, count, at);
}

#define PLAIN(name, parameters, arguments, is_it, takes_space) \
    int name parameters {                                      \
        GUARD(is_it, takes_space, )                            \
        return NEXT(name) arguments;                           \
    }
PLAIN(fsync, (int fd), (fd), is_below_fd(fd), 0)
PLAIN(fdatasync, (int fd), (fd), is_below_fd(fd), 0)
PLAIN(ftruncate, (int fd, off_t size), (fd, size), is_below_fd(fd), 0)
PLAIN(ftruncate64, (int fd, off64_t size), (fd, size), is_below_fd(fd), 0)
PLAIN(rename, (const char *from, const char *to), (from, to), is_below(to), 0)
PLAIN(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), is_below(to), 0)
PLAIN(unlink, (const char *path), (path), is_below(path), 0)
PLAIN(rmdir, (const char *path), (path), is_below(path), 0)
PLAIN(mkdir, (const char *path, mode_t bits), (path, bits), is_below(path), 1)

#define OPENS(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))
#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                \
        va_list more;                                                                           \
        va_start(more, flags);                                                                  \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                 \
        va_end(more);                                                                           \
        GUARD(OPENS(flags) && is_below(path), (flags & O_CREAT) && access(path, F_OK) != 0, )   \
        return NEXT(name)(path, flags, bits);                                                   \
    }
OPEN(open)
OPEN(open64)
