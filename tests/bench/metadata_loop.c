/* The calls of a metadata replay in a plain loop: `metadata_loop create|stat|unlink < NAMES`; prints calls per second. */
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
    long room = 1 << 20, count = 0, calls = 0;
    char(*names)[512] = malloc(room * sizeof *names);
    struct stat found;
    if (argc != 2 || names == NULL)
        return 2;
    while (count < room && fgets(names[count], sizeof *names, stdin)) {
        names[count][strcspn(names[count], "\n")] = 0;
        count++;
    }
    double start = now();
    for (long k = 0; k < count; k++) {
        if (!strcmp(argv[1], "create")) {
            int file = openat(AT_FDCWD, names[k], O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (file < 0 || close(file))
                return 1;
            calls += 2;
        } else if (!strcmp(argv[1], "stat") ? fstatat(AT_FDCWD, names[k], &found, 0) : unlinkat(AT_FDCWD, names[k], 0))
            return 1;
        else
            calls += 1;
    }
    printf("%.0f\n", calls / (now() - start));
    return 0;
}
