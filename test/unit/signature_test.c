/*
 * signature_test.c
 *	  Known answers for src/signature.c: RFC 4231, and Standard Webhooks' own
 *	  example; the rest was computed with Python's hmac and base64 modules.
 */
#include "signature.h"
#include "tap.h"

#include <stdlib.h>

#define ID			"msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIMESTAMP	"1614265330"
#define BODY		"{\"test\": 2432232314}"

/* Repeat a byte, n < 256. */
static const char *
repeat(int byte, int n)
{
	static char text[256];

	memset(text, byte, n);
	text[n] = '\0';
	return text;
}

static void
check_hex(const char *secret, const char *body, const char *expected, const char *name)
{
	SignatureKey *key = signature_key_make(secret);
	char		hex[SIGNATURE_HEX_SIZE] = "";

	ok(key != NULL && signature_hex(key, body, strlen(body), hex), "%s: signed", name);
	is_string(hex, expected, name);
	signature_key_free(key);
}

static void
check_standard(const char *secret, const char *expected, const char *name)
{
	SignatureKey *key = signature_key_make(secret);
	char		text[SIGNATURE_STANDARD_SIZE] = "";

	ok(key != NULL && signature_standard(key, ID, TIMESTAMP, BODY, strlen(BODY), text),
	   "%s: signed", name);
	is_string(text, expected, name);
	signature_key_free(key);
}

static void
test_hex(void)
{
	char		body[256];

	check_hex(repeat(0x0b, 20), "Hi There",
			  "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", "RFC 4231, 1");
	check_hex("Jefe", "what do ya want for nothing?",
			  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "RFC 4231, 2");
	strcpy(body, repeat(0xdd, 50));
	check_hex(repeat(0xaa, 20), body,
			  "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe", "RFC 4231, 3");
	strcpy(body, repeat(0xcd, 50));
	check_hex("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14"
			  "\x15\x16\x17\x18\x19", body,
			  "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b", "RFC 4231, 4");
	check_hex(repeat(0xaa, 131), "Test Using Larger Than Block-Size Key - Hash Key First",
			  "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", "RFC 4231, 6");
	check_hex(repeat(0xaa, 131), "This is a test using a larger than block-size key and a larger "
			  "than block-size data. The key needs to be hashed before being used by the HMAC "
			  "algorithm.",
			  "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2", "RFC 4231, 7");
	check_hex("", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad",
			  "empty secret, empty body");
	check_hex("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", BODY,
			  "80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c",
			  "the page's signature takes a whsec_ secret as it is written");
	check_hex("schl\xc3\xbcssel", "\xe2\x82\xac",
			  "08daf934749464c43c7e016018fb876b21836aaaf2b90d3ca0062a3d5dc91bf7", "UTF-8");
}

static void
test_standard(void)
{
	check_standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
				   "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "Standard Webhooks' example");
	check_standard("plain secret", "v1,gke7k785FD6W2FuaDcrvG3sQcmFE9YVaaAmarK4oi68=", "a plain secret");
	check_standard("whsec_QQ==", "v1,VAux9uNSj6zbc0s5zoiFavs+2tHiHFyWWuBCCWPNN1Y=", "two padding characters: one byte");
	check_standard("whsec_QUI=", "v1,E2MxnZKVDfbYrQYPBHOQM4znOAu37VyTFtHUnIR6pQA=", "one padding character: two bytes");
	check_standard("whsec_AAAA", "v1,woH/1mJtZGSMCmpFTxRYbStS24eLLD/oXIYr4PYyZ7g=", "a key of NUL bytes");
	check_standard("whsec_", "v1,AUsemtRPIzthQtHnPgmHPUvj8jasw1M2BdSl+bqqaVQ=", "nothing after whsec_ is a plain secret");
	check_standard("whsec_QQ=", "v1,cCh+Ig0I/IEfliqk9sfoOHkmtHjXg4nMHY5tYDbHTAo=", "missing padding is a plain secret");
	check_standard("whsec_QUJ", "v1,bp1h5OBTEeNnVXSJNb37F4VpaQSAoxNuYsxHmQJI5uw=", "no padding is a plain secret");
	check_standard("whsec_Q===", "v1,AIhNJhwfQHMQKfM3sto5T8vggI6V6ETT26JaV1RgjRU=", "three padding characters are a plain secret");
	check_standard("whsec_====", "v1,2DZl+OzfMarenfhZfsqb17MTeCWStfGh1YSwNP+NFZ4=", "padding alone is a plain secret");
	check_standard("whsec_QQ==QQ==", "v1,ef/27AeUuxwdSb9HbaoxG/QHrq4ruGeosMJFW2/e6Hc=", "padding within is a plain secret");
	check_standard("whsec_QU I", "v1,XGuBIViFUt+GyR8RxBNmuQwAQthkQj6SeQW4BVZsbBs=", "white space within is a plain secret");
	check_standard("whsec_ QUI=", "v1,eIPTb69HMndue4X5r/vemrYnM1b9zBfQIVxYnOwN/i8=", "white space before is a plain secret");
	check_standard("whsec_QUI=\n", "v1,qdwMCRO6LwWeFYH9QvOUvB8Z0BGtnP6maMyLH7EW5ec=", "a newline after is a plain secret");
	check_standard("whsec_QU-_", "v1,1xRXRsCSrjgSQxV1k0T+JUtFJQc1u2ejygkfolNvltc=", "the URL alphabet is a plain secret");
	check_standard("WHSEC_QUJD", "v1,YmdHFh5F0JR8hu6GI+c7/tDHt4FKjq4UA9KPHwlzgNQ=", "capitals are a plain secret");
	check_standard("whsec_M\xc3\xbcQ", "v1,x3a12OUF1eR6iNMIgRo2DlrlWTfPd63F+M1DWOC7U/E=", "UTF-8 is a plain secret");
}

static void
test_reuse(void)
{
	SignatureKey *key = signature_key_make("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
	char		first_hex[SIGNATURE_HEX_SIZE];
	char		first[SIGNATURE_STANDARD_SIZE];
	char		hex[SIGNATURE_HEX_SIZE];
	char		text[SIGNATURE_STANDARD_SIZE];
	bool		same = true;
	size_t		length;
	char	   *body = calloc(1, 1000);

	signature_hex(key, BODY, strlen(BODY), first_hex);
	signature_standard(key, ID, TIMESTAMP, BODY, strlen(BODY), first);
	for (length = 0; length < 1000; length++)
	{
		signature_hex(key, body, length, hex);
		signature_standard(key, "other", "1", body, length, text);
		same = same && strcmp(hex, first_hex) != 0 && strcmp(text, first) != 0;
		signature_hex(key, BODY, strlen(BODY), hex);
		signature_standard(key, ID, TIMESTAMP, BODY, strlen(BODY), text);
		same = same && strcmp(hex, first_hex) == 0 && strcmp(text, first) == 0;
	}
	ok(same, "a key gives the same answer however often and for whatever it was used");
	signature_key_free(key);
	signature_key_free(NULL);
	free(body);
}

int
main(void)
{
	test_hex();
	test_standard();
	test_reuse();
	return tap_done();
}
