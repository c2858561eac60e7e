/*
 * A name that moves: `localhost` is looked up as the address in the file that MOVED_NAME names.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    char address[64] = "";
    if (name == NULL || strcmp(name, "localhost") != 0)
        return real(name, service, hints, found);
    FILE *file = fopen(getenv("MOVED_NAME"), "r");
    if (file == NULL || fgets(address, sizeof address, file) == NULL) {
        /* Without the file a test would pass or fail for the wrong reason. */
        perror("MOVED_NAME");
        abort();
    }
    fclose(file);
    return real(address, service, hints, found);
}
