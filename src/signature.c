/*
 * signature.c
 *	  HMAC-SHA256 signatures of a body.  The only file that includes OpenSSL.
 *
 * A prepared HMAC_CTX is used for every request of a webhook: starting it
 * again with the key it holds costs a fifth of a one-shot HMAC(), which looks
 * its digest up anew each time under OpenSSL 3.  That interface is the one that
 * 1.1.1 and 3 share; EVP_MAC, its successor, measured no faster.
 */
#define OPENSSL_API_COMPAT 0x10101000L

#include "signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE_BYTES		32
#define STANDARD_PREFIX		"whsec_"
#define STANDARD_VERSION	"v1,"

struct SignatureKey
{
	HMAC_CTX   *page;			/* key: the secret's bytes */
	HMAC_CTX   *standard;		/* key: as Standard Webhooks reads the secret; the
								 * same context where both are the same */
};

static HMAC_CTX *
signature_prepare(const unsigned char *bytes, size_t length)
{
	HMAC_CTX   *context = HMAC_CTX_new();

	if (context != NULL &&
		HMAC_Init_ex(context, bytes, (int) length, EVP_sha256(), NULL) != 1)
	{
		HMAC_CTX_free(context);
		return NULL;
	}
	return context;
}

/*
 * How many bytes this base64 text stands for; 0 if it is none.  Stricter than
 * EVP_DecodeBlock, which skips white space, and which counts padding as bytes.
 */
static size_t
signature_base64_bytes(const char *text)
{
	size_t		length = strlen(text);
	size_t		digits = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
								"abcdefghijklmnopqrstuvwxyz0123456789+/");
	size_t		padding = length - digits;

	if (length == 0 || length % 4 != 0 || padding > 2 ||
		strspn(text + digits, "=") != padding)
		return 0;
	return length / 4 * 3 - padding;
}

/*
 * The key that Standard Webhooks means by a whsec_ secret.  *plain is set where
 * the secret is not of that kind; NULL otherwise means that memory is short.
 */
static HMAC_CTX *
signature_prepare_standard(const char *secret, bool *plain)
{
	size_t		prefix = sizeof(STANDARD_PREFIX) - 1;
	HMAC_CTX   *context = NULL;
	unsigned char *bytes;
	size_t		size;
	size_t		length;

	*plain = strncmp(secret, STANDARD_PREFIX, prefix) != 0 ||
		(length = signature_base64_bytes(secret + prefix)) == 0;
	if (*plain)
		return NULL;
	size = strlen(secret + prefix) / 4 * 3;
	bytes = malloc(size);
	if (bytes == NULL)
		return NULL;
	if (EVP_DecodeBlock(bytes, (const unsigned char *) secret + prefix,
						(int) strlen(secret + prefix)) >= 0)
		context = signature_prepare(bytes, length);
	OPENSSL_cleanse(bytes, size);
	free(bytes);
	return context;
}

SignatureKey *
signature_key_make(const char *secret)
{
	SignatureKey *key = malloc(sizeof(SignatureKey));
	bool		plain;

	if (key == NULL)
		return NULL;
	key->page = signature_prepare((const unsigned char *) secret, strlen(secret));
	key->standard = signature_prepare_standard(secret, &plain);
	if (plain)
		key->standard = key->page;
	if (key->page == NULL || key->standard == NULL)
	{
		signature_key_free(key);
		return NULL;
	}
	return key;
}

/* HMAC_CTX_free cleanses the key's traces itself. */
void
signature_key_free(SignatureKey *key)
{
	if (key == NULL)
		return;
	if (key->standard != key->page)
		HMAC_CTX_free(key->standard);
	HMAC_CTX_free(key->page);
	free(key);
}

void
signature_secret_format(const unsigned char bytes[SIGNATURE_SECRET_BYTES],
						char out[SIGNATURE_SECRET_SIZE])
{
	size_t		prefix = sizeof(STANDARD_PREFIX) - 1;

	memcpy(out, STANDARD_PREFIX, prefix);
	EVP_EncodeBlock((unsigned char *) out + prefix, bytes, SIGNATURE_SECRET_BYTES);
}

bool
signature_hex(SignatureKey *key, const char *body, size_t body_len,
			  char out[SIGNATURE_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char mac[SIGNATURE_BYTES];
	int			i;

	if (HMAC_Init_ex(key->page, NULL, 0, NULL, NULL) != 1 ||
		HMAC_Update(key->page, (const unsigned char *) body, body_len) != 1 ||
		HMAC_Final(key->page, mac, NULL) != 1)
		return false;
	for (i = 0; i < SIGNATURE_BYTES; i++)
	{
		out[2 * i] = digits[mac[i] >> 4];
		out[2 * i + 1] = digits[mac[i] & 15];
	}
	out[2 * SIGNATURE_BYTES] = '\0';
	return true;
}

bool
signature_standard(SignatureKey *key, const char *id, const char *timestamp,
				   const char *body, size_t body_len, char out[SIGNATURE_STANDARD_SIZE])
{
	unsigned char mac[SIGNATURE_BYTES];
	HMAC_CTX   *context = key->standard;
	size_t		prefix = sizeof(STANDARD_VERSION) - 1;

	if (HMAC_Init_ex(context, NULL, 0, NULL, NULL) != 1 ||
		HMAC_Update(context, (const unsigned char *) id, strlen(id)) != 1 ||
		HMAC_Update(context, (const unsigned char *) ".", 1) != 1 ||
		HMAC_Update(context, (const unsigned char *) timestamp, strlen(timestamp)) != 1 ||
		HMAC_Update(context, (const unsigned char *) ".", 1) != 1 ||
		HMAC_Update(context, (const unsigned char *) body, body_len) != 1 ||
		HMAC_Final(context, mac, NULL) != 1)
		return false;
	memcpy(out, STANDARD_VERSION, prefix);
	EVP_EncodeBlock((unsigned char *) out + prefix, mac, SIGNATURE_BYTES);
	return true;
}
