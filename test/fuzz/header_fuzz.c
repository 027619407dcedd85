/*
 * header_fuzz.c
 *	  Names and values of headers: what is accepted makes one line, and none
 *	  that belongs to the request itself.  Input: a name, a line feed, a value.
 */
#include "fuzz.h"

#include <ctype.h>
#include <stdbool.h>

#include "header.h"

/* As the reference lists them. */
static const char *const own[] = {
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade",
	"Content-Type", "User-Agent", "Proxy-*", "X-Fluxbase-*", "webhook-*"
};

static bool
is_own(const char *name)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
	{
		size_t		j = 0;

		while (own[i][j] != '\0' && own[i][j] != '*' &&
			   tolower((unsigned char) own[i][j]) == tolower((unsigned char) name[j]))
			j++;
		if (own[i][j] == '*' || (own[i][j] == '\0' && name[j] == '\0'))
			return true;
	}
	return false;
}

static bool
is_token(const char *name)
{
	if (*name == '\0')
		return false;
	for (; *name != '\0'; name++)
	{
		unsigned char c = (unsigned char) *name;

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL)
			return false;
	}
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *feed = memchr(data, '\n', size);
	char	   *name = fuzz_text(data, feed != NULL ? (size_t) (feed - data) : size);
	char	   *value = feed != NULL ? fuzz_text(feed + 1, data + size - feed - 1) : fuzz_text(data, 0);
	bool		accepted = header_name_valid(name) && !header_name_reserved(name) && !header_has_control(value);

	FUZZ_CHECK(header_name_valid(name) == is_token(name), "token \"%s\"", name);
	FUZZ_CHECK(header_name_reserved(name) == is_own(name), "reserved \"%s\"", name);
	if (accepted)
	{
		for (const char *p = value; *p != '\0'; p++)
			FUZZ_CHECK(!iscntrl((unsigned char) *p), "control character in \"%s\"", value);
	}
	free(name);
	free(value);
	return 0;
}
