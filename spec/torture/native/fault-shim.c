/*
 * Loaded into a process with LD_PRELOAD, makes the n-th call that changes files below a directory
 * go wrong. One counter for the whole process, so that a run can be repeated.
 *
 *   FAULT_ROOT     the directory; calls elsewhere are passed on uncounted
 *   FAULT_CONTROL  a file of four 64-bit numbers that is shared with the process under test:
 *                  mode, n, whether every later call fails too, calls counted so far
 *
 * Modes: 0 off, 1 kill before the call, 2 kill after it, 3 kill in the middle of a write, 4 write
 * half and say so (a write is never of nothing), 5 EIO, 6 ENOSPC.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, KILL_BEFORE, KILL_AFTER, TORN, SHORT, FAIL_EIO, FAIL_ENOSPC };
/* What a call has to do. */
enum { PASS, HALF, FAIL };

struct control { uint64_t mode, at, is_lasting, count; };
static struct control none, *control = &none;
static const char *root;
static size_t root_length;

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("FAULT_CONTROL");
  root = getenv("FAULT_ROOT");
  if (!path || !root) return;
  root_length = strlen(root);
  int fd = REAL(open64, path, O_RDWR | O_CLOEXEC);
  void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (shared == MAP_FAILED) _exit(90);
  control = shared;
}

static int is_below(const char *path) { return root && !strncmp(path, root, root_length); }

static int is_ours(int fd) {
  char link[64], path[PATH_MAX];
  if (control->mode == OFF || fd <= 2) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_below(path);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* Whether this is the n-th call; errno is set where it has to fail. */
static int is_due(void) {
  uint64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
  return number == control->at || (control->is_lasting && number > control->at);
}

static int decide(int is_write) {
  if (!is_due()) return PASS;
  switch (control->mode) {
    case KILL_BEFORE: die();
    case TORN: if (!is_write) die(); return HALF;
    case SHORT: return is_write ? HALF : PASS;
    case FAIL_EIO: errno = EIO; return FAIL;
    case FAIL_ENOSPC: errno = ENOSPC; return FAIL;
    default: return PASS;
  }
}

/* Whether a call that has returned is the last thing the process does. */
static void after(uint64_t number) {
  if (control->mode == KILL_AFTER && number >= control->at) die();
}

#define GUARD(is_one_of_ours, is_write, half, real)            \
  do {                                                         \
    if (!(is_one_of_ours)) return (real);                      \
    int decision = decide(is_write);                           \
    uint64_t number = control->count;                          \
    if (decision == FAIL) return -1;                           \
    __typeof__(real) result = decision == HALF ? (half) : (real); \
    if (decision == HALF && control->mode == TORN) die();      \
    after(number);                                             \
    return result;                                             \
  } while (0)

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
  GUARD(is_ours(fd), 1, REAL(pwrite64, fd, bytes, (size + 1) / 2, at), REAL(pwrite64, fd, bytes, size, at));
}

ssize_t write(int fd, const void *bytes, size_t size) {
  GUARD(is_ours(fd), 1, REAL(write, fd, bytes, (size + 1) / 2), REAL(write, fd, bytes, size));
}

/* Half of the buffers, and half of a single one. */
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  GUARD(is_ours(fd), 1,
        count > 1 ? REAL(pwritev64, fd, parts, count / 2, at)
                  : REAL(pwrite64, fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2, at),
        REAL(pwritev64, fd, parts, count, at));
}

int fdatasync(int fd) { GUARD(is_ours(fd), 0, 0, REAL(fdatasync, fd)); }

int fsync(int fd) { GUARD(is_ours(fd), 0, 0, REAL(fsync, fd)); }

int ftruncate64(int fd, off64_t size) { GUARD(is_ours(fd), 0, 0, REAL(ftruncate64, fd, size)); }

int rename(const char *from, const char *to) {
  GUARD(control->mode != OFF && is_below(from), 0, 0, REAL(rename, from, to));
}

int unlink(const char *path) {
  GUARD(control->mode != OFF && is_below(path), 0, 0, REAL(unlink, path));
}

int rmdir(const char *path) {
  GUARD(control->mode != OFF && is_below(path), 0, 0, REAL(rmdir, path));
}

int mkdir(const char *path, mode_t mode) {
  GUARD(control->mode != OFF && is_below(path), 0, 0, REAL(mkdir, path, mode));
}

int link(const char *from, const char *to) {
  GUARD(control->mode != OFF && is_below(from), 0, 0, REAL(link, from, to));
}

/* Reading is not counted: only what is opened in order to be changed. */
int open64(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  int is_change = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  GUARD(control->mode != OFF && is_change && is_below(path), 0, 0, REAL(open64, path, flags, mode));
}
