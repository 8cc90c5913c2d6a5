/*
 * Does to disks what Node.js has no calls for, one command per line of its input, and answers each
 * with a line: "ok", or "error" and the number of the error. "ok" of a cut is followed by when it
 * began, in nanoseconds of the clock that process.hrtime shows.
 *
 *   mount <device> <directory> <type>
 *   unmount <directory>
 *   detach <directory>                the same while files of it are open: it ends with the last of them
 *   read-only <directory>             remounts, so that nothing can be written any more
 *   resize <directory> <options>      remounts a tmpfs with other options
 *   writeback <file> <offset> <bytes> puts this range on the disk, and nothing else of the file
 *   cut <directory> <flag> <usec>     waits, then shuts the file system down as a power loss would:
 *                                     flag 1 with its journal written, flag 2 with nothing
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

/* The same for ext4 and xfs. */
#define IOC_SHUTDOWN _IOR('X', 125, uint32_t)

static int writeback(const char *file, long long offset, long long bytes) {
  int fd = open(file, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  int result = sync_file_range(fd, offset, bytes,
                               SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                   SYNC_FILE_RANGE_WAIT_AFTER);
  int error = errno;
  close(fd);
  errno = error;
  return result;
}

static int cut(const char *directory, uint32_t flag, unsigned usec, struct timespec *began) {
  int fd = open(directory, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  usleep(usec);
  clock_gettime(CLOCK_MONOTONIC, began);
  int result = ioctl(fd, IOC_SHUTDOWN, &flag);
  int error = errno;
  close(fd);
  errno = error;
  return result;
}

int main(void) {
  char line[4096], command[16], a[1024], b[1024], c[1024];
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    long long first = 0, second = 0;
    struct timespec began = {0, 0};
    int result = -1;
    errno = EINVAL;
    a[0] = b[0] = c[0] = 0;
    if (sscanf(line, "%15s", command) != 1) continue;
    if (!strcmp(command, "mount") && sscanf(line, "%*s %1023s %1023s %1023s", a, b, c) == 3) {
      result = mount(a, b, c, MS_NOATIME, NULL);
    } else if (!strcmp(command, "unmount") && sscanf(line, "%*s %1023s", a) == 1) {
      result = umount2(a, 0);
    } else if (!strcmp(command, "detach") && sscanf(line, "%*s %1023s", a) == 1) {
      result = umount2(a, MNT_DETACH);
    } else if (!strcmp(command, "read-only") && sscanf(line, "%*s %1023s", a) == 1) {
      result = mount(NULL, a, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    } else if (!strcmp(command, "resize") && sscanf(line, "%*s %1023s %1023s", a, b) == 2) {
      result = mount(NULL, a, NULL, MS_REMOUNT, b);
    } else if (!strcmp(command, "writeback") &&
               sscanf(line, "%*s %1023s %lld %lld", a, &first, &second) == 3) {
      result = writeback(a, first, second);
    } else if (!strcmp(command, "cut") &&
               sscanf(line, "%*s %1023s %lld %lld", a, &first, &second) == 3) {
      result = cut(a, (uint32_t)first, (unsigned)second, &began);
    }
    if (result == 0) printf("ok %lld\n", began.tv_sec * 1000000000LL + began.tv_nsec);
    else printf("error %d\n", errno);
  }
  return 0;
}
