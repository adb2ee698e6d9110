/* Issues one kind of call COUNT times on FILE and prints the ns of one: the lowest decile over bursts of 1,000 calls.
 * A virtual processor shares its core with a neighbour's, and is half as fast for a second or two while that one works:
 * the lowest decile compares undisturbed time with undisturbed time. calls pread|stat|open|lseek COUNT FILE */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BURST 1000

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int n, char **argument)
{
	static char buffer[4096];
	struct stat status;
	if (n != 4)
		return 2;
	const char *call = argument[1], *file = argument[3];
	long bursts = atol(argument[2]) / BURST;
	double *took = malloc((bursts + 1) * sizeof(*took));
	int fd = open(file, O_RDONLY);
	if (!took || bursts < 1)
		return 2;
	for (long burst = 0; burst < bursts; burst++) {
		double start = now();
		if (!strcmp(call, "pread"))
			for (long i = 0; i < BURST; i++)
				pread(fd, buffer, sizeof(buffer), (i & 15) * sizeof(buffer));
		else if (!strcmp(call, "lseek"))
			for (long i = 0; i < BURST; i++)
				lseek(fd, 0, SEEK_SET);
		else if (!strcmp(call, "stat"))
			for (long i = 0; i < BURST; i++)
				stat(file, &status);
		else
			for (long i = 0; i < BURST; i++)
				close(open(file, O_RDONLY));
		took[burst] = (now() - start) / BURST;
	}
	qsort(took, bursts, sizeof(*took), by_size);
	printf("%.1f\n", took[bursts / 10]);
	return 0;
}
