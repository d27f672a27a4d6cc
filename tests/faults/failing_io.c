/* Counts the file operations below one folder and fails one of them.

   Loaded before all libraries (LD_PRELOAD), so that what C++ reads and writes
   counts too; mmap, and what libc does inside its own functions, does not.
   In the environment:
   FAILING_IO_BELOW    the folder, absolute, without links
   FAILING_IO_LIST     a file elsewhere; gets a line for each operation: kind,
                       tab, path below the folder, and a tab more if it failed
   FAILING_IO_KIND     the kind that is to fail; none fails without it
   FAILING_IO_PATHS    which paths, such as run/config*
   FAILING_IO_NUMBER   which of these operations, from 1; all others are done
   FAILING_IO_ERRNO    with which error, a number */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONGEST (2 * PATH_MAX)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *below, *kind_to_fail, *paths;
static int list = -1, error, left;

/* Reads the environment; to be called again where a fork has changed it. */
__attribute__((constructor)) void failing_io_settings(void) {
  const char *listed = getenv("FAILING_IO_LIST");
  const char *number = getenv("FAILING_IO_NUMBER");
  const char *wanted = getenv("FAILING_IO_ERRNO");
  below = getenv("FAILING_IO_BELOW");
  kind_to_fail = getenv("FAILING_IO_KIND");
  paths = getenv("FAILING_IO_PATHS");
  left = number ? atoi(number) : 1;
  error = wanted ? atoi(wanted) : EIO;
  list = !listed ? -1 : syscall(SYS_openat, AT_FDCWD, listed,
      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/* Whether an operation on an absolute path is the one to fail. */
static int fails_at(const char *kind, const char *path) {
  char line[LONGEST + 32];
  size_t length = strlen(below);
  int is_it;
  if (strncmp(path, below, length) || (path[length] && path[length] != '/'))
    return 0;
  path += length + (path[length] == '/');
  pthread_mutex_lock(&lock);
  is_it = kind_to_fail && !strcmp(kind, kind_to_fail) &&
          (!paths || !fnmatch(paths, path, FNM_PATHNAME)) && --left == 0;
  length = snprintf(line, sizeof line, "%s\t%s%s\n", kind, path,
                    is_it ? "\t" : "");
  if (list >= 0) syscall(SYS_write, list, line, length);
  pthread_mutex_unlock(&lock);
  if (is_it) errno = error;
  return is_it;
}

/* The path of an open file or folder, or of the working folder; 0 for none. */
static size_t path_of(int fd, char *path) {
  char link[64] = "/proc/self/cwd";
  int before = errno;
  ssize_t length;
  if (fd != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX);
  errno = before;
  if (length < 0) return 0;
  path[length] = 0;
  return length;
}

/* Whether an operation on an open file or folder is the one to fail. */
static int fails(const char *kind, int fd) {
  char path[LONGEST];
  return below && fd > STDERR_FILENO && path_of(fd, path) &&
         fails_at(kind, path);
}

/* The same for a path, below an open folder if it is not absolute. */
static int fails_path(const char *kind, int folder, const char *name) {
  char path[LONGEST];
  size_t length;
  if (!below || !name || !*name) return 0;
  if (*name == '/') return fails_at(kind, name);
  if (!(length = path_of(folder, path))) return 0;
  snprintf(path + length, sizeof path - length, "/%s", name);
  return fails_at(kind, path);
}

/* A function of libc that asks first whether it is to fail. */
#define FIND(name) \
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)
#define FAILING(type, name, parameters, arguments, is_failing, failure) \
  type name parameters {                                                \
    static type(*real) parameters;                                      \
    FIND(name);                                                         \
    if (is_failing) return failure;                                     \
    return real arguments;                                              \
  }
#define ON_FD(type, name, kind, parameters, arguments) \
  FAILING(type, name, parameters, arguments, fails(kind, fd), -1)
#define ON_PATH(name, kind, folder, parameters, arguments) \
  FAILING(int, name, parameters, arguments, fails_path(kind, folder, path), -1)
#define AT AT_FDCWD
#define OPENING(name, parameters, folder)                              \
  int name parameters {                                                \
    static int (*real)(int, const char *, int, ...);                   \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0600;       \
    va_end(rest);                                                      \
    FIND(openat64);                                                    \
    if (fails_path(flags & O_CREAT ? "create" : "open", folder, path)) \
      return -1;                                                       \
    return real(folder, path, flags, mode);                            \
  }
/* It closes in any case; what fails then is what was still to be written. */
#define CLOSING(type, name, of, fd)                         \
  int name(type of) {                                       \
    static int (*real)(type);                               \
    FIND(name);                                             \
    int is_failing = fails("close", fd), result = real(of); \
    if (is_failing) errno = error;                          \
    return is_failing ? -1 : result;                        \
  }
#define FOPEN(name)                                                         \
  FAILING(FILE *, name, (const char *path, const char *mode), (path, mode), \
          fails_path(*mode == 'r' ? "open" : "create", AT, path), NULL)
#define STREAM(name, kind, type)                                         \
  FAILING(size_t, name, (type data, size_t size, size_t n, FILE *file),  \
          (data, size, n, file), fails(kind, fileno(file)), 0)
#define PATH const char *path
/* The names with x are those of older versions of libc. */
#define STAT(type, name)                                                      \
  ON_PATH(name, "stat", AT, (PATH, type *to), (path, to))                     \
  ON_PATH(l##name, "stat", AT, (PATH, type *to), (path, to))                  \
  ON_FD(int, f##name, "stat", (int fd, type *to), (fd, to))                   \
  ON_PATH(__x##name, "stat", AT, (int v, PATH, type *to), (v, path, to))      \
  ON_PATH(__lx##name, "stat", AT, (int v, PATH, type *to), (v, path, to))     \
  ON_FD(int, __fx##name, "stat", (int v, int fd, type *to), (v, fd, to))
#define STATAT(type, name)                                                    \
  ON_PATH(f##name, "stat", at, (int at, PATH, type *to, int flags),           \
          (at, path, to, flags))                                              \
  ON_PATH(__fx##name, "stat", at, (int v, int at, PATH, type *to, int flags), \
          (v, at, path, to, flags))

OPENING(open, (PATH, int flags, ...), AT)
OPENING(open64, (PATH, int flags, ...), AT)
OPENING(openat, (int at, PATH, int flags, ...), at)
OPENING(openat64, (int at, PATH, int flags, ...), at)
ON_PATH(__openat_2, "open", at, (int at, PATH, int flags), (at, path, flags))
FOPEN(fopen)
FOPEN(fopen64)
ON_FD(ssize_t, read, "read", (int fd, void *to, size_t n), (fd, to, n))
ON_FD(ssize_t, pread, "read", (int fd, void *to, size_t n, off_t i),
      (fd, to, n, i))
ON_FD(ssize_t, pread64, "read", (int fd, void *to, size_t n, off64_t i),
      (fd, to, n, i))
STREAM(fread, "read", void *)
ON_FD(ssize_t, write, "write", (int fd, const void *data, size_t n),
      (fd, data, n))
ON_FD(ssize_t, pwrite, "write", (int fd, const void *data, size_t n, off_t i),
      (fd, data, n, i))
ON_FD(ssize_t, pwrite64, "write",
      (int fd, const void *data, size_t n, off64_t i), (fd, data, n, i))
ON_FD(ssize_t, writev, "write", (int fd, const struct iovec *data, int n),
      (fd, data, n))
STREAM(fwrite, "write", const void *)
FAILING(int, fflush, (FILE *file), (file), file && fails("write", fileno(file)),
        EOF)
ON_FD(int, fsync, "fsync", (int fd), (fd))
ON_FD(int, fdatasync, "fsync", (int fd), (fd))
ON_FD(int, ftruncate, "truncate", (int fd, off_t n), (fd, n))
ON_FD(int, ftruncate64, "truncate", (int fd, off64_t n), (fd, n))
ON_FD(int, flock, "lock", (int fd, int operation), (fd, operation))
CLOSING(int, close, fd, fd)
CLOSING(FILE *, fclose, file, fileno(file))
ON_PATH(rename, "rename", AT, (PATH, const char *to), (path, to))
ON_PATH(renameat, "rename", at, (int at, PATH, int there, const char *to),
        (at, path, there, to))
ON_PATH(mkdir, "mkdir", AT, (PATH, mode_t mode), (path, mode))
ON_PATH(mkdirat, "mkdir", at, (int at, PATH, mode_t mode), (at, path, mode))
ON_PATH(unlink, "unlink", AT, (PATH), (path))
ON_PATH(unlinkat, "unlink", at, (int at, PATH, int flags), (at, path, flags))
ON_PATH(remove, "unlink", AT, (PATH), (path))
ON_PATH(rmdir, "rmdir", AT, (PATH), (path))
ON_PATH(access, "stat", AT, (PATH, int mode), (path, mode))
STAT(struct stat, stat)
STAT(struct stat64, stat64)
STATAT(struct stat, statat)
STATAT(struct stat64, statat64)
FAILING(DIR *, opendir, (PATH), (path), fails_path("list", AT, path), NULL)
FAILING(DIR *, fdopendir, (int fd), (fd), fails("list", fd), NULL)
FAILING(struct dirent *, readdir, (DIR *dir), (dir), fails("list", dirfd(dir)),
        NULL)
FAILING(struct dirent64 *, readdir64, (DIR *dir), (dir),
        fails("list", dirfd(dir)), NULL)
