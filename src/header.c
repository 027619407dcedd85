/*
 * header.c
 *	  Which header lines a webhook may add to its requests.
 */
#include "header.h"

#include <stddef.h>
#include <string.h>

/* Reserved names in lower case; an ending "-" stands for all that begin so. */
static const char *const header_reserved[] = {
	"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te",
	"trailer", "upgrade", "content-type", "user-agent", "proxy-", "x-fluxbase-", "webhook-"
};

bool
header_name_valid(const char *name)
{
	return name[0] != '\0' &&
		name[strspn(name, "!#$%&'*+-.^_`|~0123456789"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == '\0';
}

/* Does name begin with this, whatever its case?  Knows no locale. */
static bool
header_begins(const char *name, const char *beginning)
{
	for (; *beginning != '\0'; beginning++, name++)
	{
		if ((*name >= 'A' && *name <= 'Z' ? *name + ('a' - 'A') : *name) != *beginning)
			return false;
	}
	return true;
}

bool
header_name_reserved(const char *name)
{
	size_t		i;

	for (i = 0; i < sizeof(header_reserved) / sizeof(header_reserved[0]); i++)
	{
		size_t		length = strlen(header_reserved[i]);

		if (header_begins(name, header_reserved[i]) &&
			(header_reserved[i][length - 1] == '-' || name[length] == '\0'))
			return true;
	}
	return false;
}

bool
header_has_control(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if ((unsigned char) *text < ' ' || *text == 0x7f)
			return true;
	}
	return false;
}
