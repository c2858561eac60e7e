/*
 * A disk that fails while a file exists. Only the event logs' files are on it; with FAIL_LOG in the environment, only
 * those with that in their path.
 *
 * While FAIL_SYNC exists, no sync succeeds (EIO, or FAIL_SYNC_WITH: ENOSPC or EDQUOT). While FAIL_WRITE exists, nothing is written to the write-ahead
 * log (ENOSPC), and while FAIL_WRITE_BACK exists, nothing from there into the log's own file. They are paths in
 * the environment, and all have to be given. With FAIL_QUOTA, which may be left out, while that exists the quota of the
 * log's whole directory is spent (EDQUOT).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether the file's path has this in it. */
static int is_named(int file, const char *part) {
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX);
    path[length < 0 ? 0 : length] = '\0';
    return strstr(path, part) != NULL;
}

static int fails(const char *trigger, int file, const char *part) {
    const char *log = getenv("FAIL_LOG");
    return access(getenv(trigger), F_OK) == 0 && is_named(file, part) && (log == NULL || is_named(file, log));
}

static int sync_error(void) {
    const char *name = getenv("FAIL_SYNC_WITH");
    if (name == NULL) return EIO;
    return strcmp(name, "EDQUOT") == 0 ? EDQUOT : ENOSPC;
}

static int synced(long number, int file) {
    if (fails("FAIL_SYNC", file, ".events.db")) {
        errno = sync_error();
        return -1;
    }
    return (int)syscall(number, file);
}

int fsync(int file) { return synced(SYS_fsync, file); }

int fdatasync(int file) { return synced(SYS_fdatasync, file); }

/* Whether the quota is spent that this file counts for: everything in the directory of the logs. */
static int is_over_quota(int file) {
    const char *trigger = getenv("FAIL_QUOTA");
    return trigger != NULL && access(trigger, F_OK) == 0 && is_named(file, "/data/");
}

int posix_fallocate(int file, off_t offset, off_t length) {
    if (is_over_quota(file)) return EDQUOT;
    return syscall(SYS_fallocate, file, 0, offset, length) == 0 ? 0 : errno;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    if (is_over_quota(file)) {
        errno = EDQUOT;
        return -1;
    }
    if (fails("FAIL_WRITE", file, ".events.db-wal")) {
        errno = ENOSPC;
        return -1;
    }
    if (fails("FAIL_WRITE_BACK", file, ".events.db") && !is_named(file, ".events.db-")) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, file, bytes, length, offset);
}
