/* The calls of a metadata replay in a plain loop: `metadata_loop FOLDER COUNT create|stat|unlink`; prints calls per second. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    long count = argc == 4 ? atol(argv[2]) : 0, calls = 0;
    char(*names)[512] = malloc(count * sizeof *names);
    struct stat found;
    if (argc != 4 || names == NULL)
        return 2;
    for (long k = 0; k < count; k++)
        snprintf(names[k], sizeof *names, "%s/%ld.mrc", argv[1], k);
    double start = now();
    for (long k = 0; k < count; k++) {
        if (!strcmp(argv[3], "create")) {
            int file = openat(AT_FDCWD, names[k], O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (file < 0 || close(file))
                return 1;
            calls += 2;
        } else if (!strcmp(argv[3], "stat") ? fstatat(AT_FDCWD, names[k], &found, 0) : unlinkat(AT_FDCWD, names[k], 0))
            return 1;
        else
            calls += 1;
    }
    printf("%.0f\n", calls / (now() - start));
    return 0;
}
