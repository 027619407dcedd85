/*
 * resolver.c
 *	  Preloaded into a server under test: names below storm.test are resolved
 *	  here, in the way that the file $STORM_RESOLVER says.
 *
 *	ok		127.0.0.1 (also when there is no file)
 *	fail	no answer from any name server
 *	hang	the same, after as long as the file says so
 *
 * All other names go the usual way.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
resolver_mode(char mode[16])
{
	const char *path = getenv("STORM_RESOLVER");
	FILE	   *file = path == NULL ? NULL : fopen(path, "re");

	if (file == NULL || fscanf(file, "%15s", mode) != 1)
		strcpy(mode, "ok");
	if (file != NULL)
		fclose(file);
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	static const char domain[] = ".storm.test";
	int			(*next) (const char *, const char *, const struct addrinfo *, struct addrinfo **);
	size_t		length = node == NULL ? 0 : strlen(node);
	char		mode[16];

	*(void **) &next = dlsym(RTLD_NEXT, "getaddrinfo");
	if (length < sizeof(domain) || strcmp(node + length - strlen(domain), domain) != 0)
		return next(node, service, hints, result);
	resolver_mode(mode);
	if (strcmp(mode, "ok") == 0)
		return next("127.0.0.1", service, hints, result);
	while (strcmp(mode, "hang") == 0)
	{
		usleep(100 * 1000);
		resolver_mode(mode);
	}
	return EAI_AGAIN;
}
