/*
 * signature.h
 *	  HMAC-SHA256 signatures of a body, in both families of headers.
 *	  signature.c is the only file that includes OpenSSL.
 *
 * A key is prepared once per webhook and used for every request; it is
 * malloc'd memory that the caller frees, and holds no palloc'd pointer.
 */
#ifndef FLUXHOOKS_SIGNATURE_H
#define FLUXHOOKS_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct SignatureKey SignatureKey;

#define SIGNATURE_HEX_SIZE		65	/* 64 digits and a NUL */
#define SIGNATURE_STANDARD_SIZE	48	/* "v1," + 44 base64 characters + NUL */

/*
 * The secret as the user gave it, UTF-8, NUL-terminated.  The page's signature
 * uses its bytes as key; Standard Webhooks the base64-decoded rest after
 * "whsec_", or the raw bytes of any other secret (a "whsec_" whose rest is no
 * base64 counts as any other secret).  Returns NULL only when memory is short.
 */
extern SignatureKey *signature_key_make(const char *secret);
extern void signature_key_free(SignatureKey *key);

/* A secret of the form that Standard Webhooks means: "whsec_" and base64. */
#define SIGNATURE_SECRET_BYTES	32
#define SIGNATURE_SECRET_SIZE	51	/* "whsec_" + 44 base64 characters + NUL */
extern void signature_secret_format(const unsigned char bytes[SIGNATURE_SECRET_BYTES],
									char out[SIGNATURE_SECRET_SIZE]);

/* X-Fluxbase-Signature: lower-case hex HMAC-SHA256 of the body. */
extern bool signature_hex(SignatureKey *key, const char *body, size_t body_len,
						  char out[SIGNATURE_HEX_SIZE]);

/* webhook-signature: Standard Webhooks 1.0 over "id.timestamp.body". */
extern bool signature_standard(SignatureKey *key, const char *id, const char *timestamp,
							   const char *body, size_t body_len,
							   char out[SIGNATURE_STANDARD_SIZE]);

#endif
