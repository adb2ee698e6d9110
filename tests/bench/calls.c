/* Issues one kind of call COUNT times on FILE and prints the mean ns of each: calls pread|stat|open|lseek COUNT FILE */
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
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int n, char **argument)
{
	static char buffer[4096];
	struct stat status;
	if (n != 4)
		return 2;
	long count = atol(argument[2]);
	int fd = open(argument[3], O_RDONLY);
	double start = now();
	if (!strcmp(argument[1], "pread"))
		for (long i = 0; i < count; i++)
			pread(fd, buffer, sizeof(buffer), (i & 15) * sizeof(buffer));
	else if (!strcmp(argument[1], "lseek"))
		for (long i = 0; i < count; i++)
			lseek(fd, 0, SEEK_SET);
	else if (!strcmp(argument[1], "stat"))
		for (long i = 0; i < count; i++)
			stat(argument[3], &status);
	else
		for (long i = 0; i < count; i++)
			close(open(argument[3], O_RDONLY));
	printf("%.1f\n", (now() - start) / count);
	return 0;
}
