/*
 * http_test.c
 *	  src/http.c against http_server.js.  Names are resolved by the getaddrinfo
 *	  below, which takes the C library's place in libcurl too.
 */
#include "address.h"
#include "http.h"
#include "http_guard.h"
#include "http_socket.h"
#include "tap.h"

#include <arpa/inet.h>
#include <curl/curlver.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUESTS	64
#define DEADLINE_MS		30000
#define OWN_ADDRESS		"192.0.1.1"

typedef struct Outcome
{
	int			times;			/* done was called */
	HttpResult	result;
	char		body[20000];
} Outcome;

static Outcome outcomes[MAX_REQUESTS];
static int	ended;
static int	descriptors;
static bool reserve_allowed = true;
static void (*on_done) (int which);

static int	http_port;
static int	https_port;
static int	flood_port;
static char ca_file[512];
static pid_t server;
static int	server_stdin;

/* ------------------------------------------------------------ resolving */

static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_free = PTHREAD_COND_INITIALIZER;
static bool resolver_hangs = true;
static int	resolver_hanging = 0;
static bool resolver_waited_for = false;
static bool resolver_open_to_signals = false;
static bool interfaces_unknown = false;

static struct addrinfo *
make_addrinfo(const char *address, const char *service, struct addrinfo *next)
{
	struct addrinfo *info = calloc(1, sizeof(struct addrinfo) + sizeof(struct sockaddr_in));
	struct sockaddr_in *ipv4 = (struct sockaddr_in *) (info + 1);

	ipv4->sin_family = AF_INET;
	ipv4->sin_port = htons(service ? atoi(service) : 0);
	inet_pton(AF_INET, address, &ipv4->sin_addr);
	info->ai_family = AF_INET;
	info->ai_socktype = SOCK_STREAM;
	info->ai_protocol = IPPROTO_TCP;
	info->ai_addrlen = sizeof(struct sockaddr_in);
	info->ai_addr = (struct sockaddr *) ipv4;
	info->ai_next = next;
	return info;
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	sigset_t	mask;

	(void) hints;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	pthread_mutex_lock(&resolver_lock);
	if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR1))
		resolver_open_to_signals = true;
	if (strcmp(node, "hang.test") == 0)
	{
		struct timespec deadline;

		clock_gettime(CLOCK_REALTIME, &deadline);
		deadline.tv_sec += DEADLINE_MS / 1000;
		resolver_hanging++;
		while (resolver_hangs && !resolver_waited_for)
			resolver_waited_for = pthread_cond_timedwait(&resolver_free, &resolver_lock,
														 &deadline) != 0;
		resolver_hanging--;
		pthread_cond_signal(&resolver_free);
	}
	pthread_mutex_unlock(&resolver_lock);
	if (strcmp(node, "tls.test") == 0 || strcmp(node, "other.test") == 0 ||
		strcmp(node, "localhost") == 0 || strcmp(node, "0x7f.1") == 0)	/* older libcurls ask for them */
		*result = make_addrinfo("127.0.0.1", service, NULL);
	else if (strcmp(node, "both.test") == 0)
		*result = make_addrinfo("10.0.0.1", service, make_addrinfo("127.0.0.1", service, NULL));
	else if (strcmp(node, "own.test") == 0)
		*result = make_addrinfo(OWN_ADDRESS, service, NULL);
	else
		return EAI_NONAME;
	return 0;
}

void
freeaddrinfo(struct addrinfo *info)
{
	while (info != NULL)
	{
		struct addrinfo *next = info->ai_next;

		free(info);
		info = next;
	}
}

/*
 * Interfaces: this machine has an address that policy takes for public.  Nobody
 * has it in fact; it must be refused before anything is sent there.
 */
int
getifaddrs(struct ifaddrs **result)
{
	static struct sockaddr_in own = {.sin_family = AF_INET};
	static struct ifaddrs second = {.ifa_addr = (struct sockaddr *) &own};
	static struct ifaddrs first = {.ifa_next = &second};

	if (interfaces_unknown)
		return -1;
	inet_pton(AF_INET, OWN_ADDRESS, &own.sin_addr);
	*result = &first;
	return 0;
}

void
freeifaddrs(struct ifaddrs *interfaces)
{
	(void) interfaces;
}

/* ------------------------------------------------------------ the harness */

static bool
reserve(void)
{
	if (reserve_allowed)
		descriptors++;
	return reserve_allowed;
}

static void
release(void)
{
	descriptors--;
}

static void
done(const HttpResult *result)
{
	Outcome    *outcome = result->arg;

	outcome->times++;
	ended++;
	outcome->result = *result;
	if (result->body_len > 0 && result->body_len < sizeof(outcome->body))
		memcpy(outcome->body, result->body, result->body_len);
	if (on_done != NULL)
		on_done((int) (outcome - outcomes));
}

static long long
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void
turn(long long deadline)
{
	struct pollfd wait = {.fd = http_descriptor(), .events = POLLIN};
	long		timeout = http_timeout_ms();

	if (now_ms() > deadline)
	{
		printf("Bail out! nothing more happens\n");
		exit(1);
	}
	poll(&wait, 1, timeout >= 0 && timeout < 100 ? (int) timeout : 100);
	http_progress();
}

static void
run_until(int count)
{
	long long	deadline = now_ms() + DEADLINE_MS;

	while (ended < count)
		turn(deadline);
}

static void
run(void)
{
	long long	deadline = now_ms() + DEADLINE_MS;

	while (http_in_flight() > 0)
		turn(deadline);
}

static void
reset(void)
{
	memset(outcomes, 0, sizeof(outcomes));
	ended = 0;
	on_done = NULL;
}

static void
policy(const char *networks, bool allow_http, const char *trust, const char *proxy)
{
	HttpPolicy	wanted = {networks, allow_http, trust, proxy};
	char		error[256] = "";

	if (!http_set_policy(&wanted, error, sizeof(error)))
		ok(false, "policy is taken: %s", error);
}

static char *plain_headers[] = {"Content-Type: application/json", "User-Agent: fluxhooks/test",
	"X-Custom: a b", "X-Empty: "
};

static void
start_url(int which, const char *url, int timeout_ms, size_t max_response)
{
	char		error[256] = "";
	HttpRequest request = {.url = url, .headers = plain_headers, .n_headers = 4,
		.body = "{\"a\":1}", .body_len = 7, .timeout_ms = timeout_ms,
	.max_response = max_response, .arg = &outcomes[which]};

	if (!http_start(&request, error, sizeof(error)))
		ok(false, "started: %s", error);
}

static void
start(int which, const char *path, int timeout_ms)
{
	char		url[256];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/%s", http_port, path);
	start_url(which, url, timeout_ms, 10000);
}

static const HttpResult *
fetch_url(const char *url, int timeout_ms, size_t max_response)
{
	reset();
	start_url(0, url, timeout_ms, max_response);
	run();
	is_int(outcomes[0].times, 1, "done is called once");
	return &outcomes[0].result;
}

static const HttpResult *
fetch(const char *path, int timeout_ms)
{
	char		url[256];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/%s", http_port, path);
	return fetch_url(url, timeout_ms, 10000);
}

/* A number of the server's, "connections" for one; whatever is under way goes on. */
static int
server_stat(const char *name)
{
	char		key[64];
	const char *found;

	memset(&outcomes[0], 0, sizeof(outcomes[0]));
	start(0, "stats", DEADLINE_MS);
	run_until(ended + 1);
	snprintf(key, sizeof(key), "\"%s\":", name);
	found = strstr(outcomes[0].body, key);
	return found != NULL ? atoi(found + strlen(key)) : -1;
}

static void
failed(const HttpResult *result, const char *code, const char *error, const char *name)
{
	is_int(result->status_code, 0, name);
	is_string(result->error_code, code, name);
	is_string(result->error, error, name);
}

static void
server_start(void)
{
	int			to[2];
	int			from[2];
	FILE	   *output;

	if (pipe(to) != 0 || pipe(from) != 0 || (server = fork()) < 0)
		exit(1);
	if (server == 0)
	{
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[0]);
		close(to[1]);
		close(from[0]);
		close(from[1]);
		unsetenv("LD_PRELOAD");
		execlp("node", "node", UNIT_DIR "/http_server.js", (char *) NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	server_stdin = to[1];
	output = fdopen(from[0], "r");
	if (fscanf(output, "%d %d %d %511s", &http_port, &https_port, &flood_port, ca_file) != 4)
	{
		printf("Bail out! node %s/http_server.js did not start\n", UNIT_DIR);
		exit(1);
	}
	fclose(output);
}

static void
server_stop(void)
{
	close(server_stdin);
	waitpid(server, NULL, 0);
}

/* ------------------------------------------------------------ answers */

static void
test_answers(void)
{
	const HttpResult *result = fetch("status/200", DEADLINE_MS);

	is_int(result->status_code, 200, "200");
	ok(result->error_code == NULL, "200 has no error code");
	is_string(result->error, "", "200 has no error");
	is_string(outcomes[0].body, "ok", "200 has its body");
	is_string(result->remote_address, "127.0.0.1", "200 has its address");
	is_string(result->retry_after, "", "200 has no Retry-After");
	ok(result->response_time_ms > 0 && result->response_time_ms < DEADLINE_MS, "200 took time");

	is_int(fetch("status/204", DEADLINE_MS)->status_code, 204, "204");
	ok(outcomes[0].result.error_code == NULL, "204 has no error code");
	result = fetch("status/500", DEADLINE_MS);
	is_int(result->status_code, 500, "500");
	is_string(result->error_code, "status", "500 has failed");
	is_string(result->error, "the endpoint answered with status 500", "500 says so");
	is_string(outcomes[0].body, "ok", "500 has its body");
	is_string(fetch("status/404", DEADLINE_MS)->error_code, "status", "404 has failed");

	result = fetch("redirect", DEADLINE_MS);
	is_int(result->status_code, 302, "302 is not followed");
	is_string(result->error, "the endpoint answered with status 302; redirects are not followed",
			  "302 says so");
	result = fetch("retry/429", DEADLINE_MS);
	is_int(result->status_code, 429, "429");
	is_string(result->retry_after, "120", "429 has its Retry-After");
	result = fetch("early", DEADLINE_MS);
	is_int(result->status_code, 503, "what comes before the answer is passed over");
	is_string(result->retry_after, "", "with its Retry-After");
	is_string(fetch("status/503", DEADLINE_MS)->retry_after, "", "nor is one left over");
}

static void
test_request(void)
{
	char		expected[512];
	char		url[256];

	fetch("echo", DEADLINE_MS);
	snprintf(expected, sizeof(expected),
			 "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
			 "User-Agent: fluxhooks/test\r\nX-Custom: a b\r\nX-Empty:\r\nContent-Length: 7\r\n"
			 "\r\n{\"a\":1}", http_port);
	/* The order of libcurl's own headers is libcurl's affair. */
	ok(strstr(outcomes[0].body, "\r\nContent-Type: application/json\r\n") != NULL &&
	   strstr(outcomes[0].body, "\r\nUser-Agent: fluxhooks/test\r\n") != NULL &&
	   strstr(outcomes[0].body, "\r\nX-Custom: a b\r\n") != NULL, "headers go out as given");
	ok(strstr(outcomes[0].body, "\r\nX-Empty:\r\n") != NULL, "so does one without a value");
	ok(strstr(outcomes[0].body, "\r\n\r\n{\"a\":1}\n") != NULL, "and the body");
	ok(strchr(outcomes[0].body, '\n') != NULL &&
	   strncmp(outcomes[0].body, "POST /echo HTTP/1.1\r\n", 21) == 0, "by POST");
	is_int((long long) (strstr(outcomes[0].body, "\nconnection") - outcomes[0].body),
		   (long long) strlen(expected), "and nothing else");
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	is_int(fetch("status/200", DEADLINE_MS)->status_code, 200, "the environment's proxy is ignored");
	policy("127.0.0.0/8", true, "", "");
	is_int(fetch("status/200", DEADLINE_MS)->status_code, 200, "also by a new connection");
	snprintf(url, sizeof(url), "http://me:pass@127.0.0.1:%d/echo", http_port);
	failed(fetch_url(url, DEADLINE_MS, 100), "protocol", "the URL carries a user name or password",
		   "a URL with a password");
	failed(fetch_url("http://[::1/", DEADLINE_MS, 100), "protocol", "the URL is malformed",
		   "a URL that is none");
}

static void
test_large_body(void)
{
	size_t		size = 3 * 1024 * 1024;
	char	   *body = malloc(size);
	char		url[256];
	char		error[256];
	HttpRequest request = {.body_len = size, .timeout_ms = DEADLINE_MS, .max_response = 19000,
	.arg = &outcomes[0]};

	reset();
	memset(body, 'b', size);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/echo", http_port);
	request.url = url;
	request.body = body;
	ok(http_start(&request, error, sizeof(error)), "a request of 3 MB, without headers");
	run();
	is_int(outcomes[0].result.status_code, 200, "arrives");
	ok(strstr(outcomes[0].body, "\r\nContent-Length: 3145728\r\n") != NULL, "with its length");
	ok(strstr(outcomes[0].body, "Expect") == NULL && strstr(outcomes[0].body, "Accept") == NULL,
	   "and without Expect and Accept");
	request.body = NULL;
	request.body_len = 0;
	reset();
	ok(http_start(&request, error, sizeof(error)), "a request without body");
	run();
	ok(strstr(outcomes[0].body, "\r\nContent-Length: 0\r\n") != NULL, "arrives");
	free(body);
}

static void
test_large_answers(void)
{
	char		url[256];
	const HttpResult *result;
	int			connections;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/big/1000000", http_port);
	connections = server_stat("connections");
	result = fetch_url(url, DEADLINE_MS, 100);
	is_int(result->status_code, 200, "an answer of 1 MB counts");
	is_int(result->body_len, 100, "and is kept up to the limit");
	is_int(fetch_url(url, DEADLINE_MS, 0)->body_len, 0, "which may be 0");
	is_int(fetch_url(url, DEADLINE_MS, 1)->body_len, 1, "or 1");
	is_int(fetch_url(url, DEADLINE_MS, 18000)->body_len, 18000, "or 18000");
	is_int(strspn(outcomes[0].body, "x"), 18000, "of the right bytes");
	is_int(server_stat("connections"), connections, "its connection is used again");

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/big/10000000", http_port);
	result = fetch_url(url, DEADLINE_MS, 100);
	is_int(result->status_code, 200, "an answer of 10 MB counts");
	ok(result->error_code == NULL, "as a success");
	is_int(result->body_len, 100, "and is kept up to the limit");
	is_int(server_stat("connections"), connections + 1, "its connection is dropped");
	result = fetch("endless", DEADLINE_MS);
	is_int(result->status_code, 500, "an endless answer counts by its status");
	is_string(result->error_code, "status", "as a failure");
	result = fetch("headers", DEADLINE_MS);
	is_int(result->status_code, 0, "endless headers have failed");
	is_string(result->error_code, "protocol", "as what they are");
}

/* Answers that want to be unpacked, remembered or obeyed. */
static void
test_hostile_answers(void)
{
	static const char coding[] = "the answer has a transfer coding other than chunked";
	const HttpResult *result = fetch("content", DEADLINE_MS);
	int			requests;

	is_int(result->status_code, 200, "a compressed answer counts");
	ok(result->body_len > 2 && result->body_len < 2000 && memcmp(outcomes[0].body, "\x1f\x8b", 2) == 0,
	   "and is kept as it is");
	failed(fetch("transfer/1", DEADLINE_MS), "protocol", coding, "a compressed transfer");
	failed(fetch("transfer/5", DEADLINE_MS), "protocol", coding, "one compressed five times");
	failed(fetch("transfer_lines", DEADLINE_MS), "protocol", coding, "one that says so in a line of its own");
	is_int(fetch("chunked", DEADLINE_MS)->status_code, 200, "chunks are taken, however they are spelled");
	is_string(outcomes[0].body, "ok", "and put together");
	failed(fetch("interim", DEADLINE_MS), "protocol", "the headers of the answer are too large",
		   "endless interim answers");
	failed(fetch("old", DEADLINE_MS), "protocol", "the answer has no status line", "an answer without a status line");
	is_int(fetch("remember", DEADLINE_MS)->status_code, 200, "cookies, alternatives, strictness");
	requests = server_stat("requests");
	fetch("echo", DEADLINE_MS);
	ok(strstr(outcomes[0].body, "ookie") == NULL && strstr(outcomes[0].body, "uthorization") == NULL &&
	   strstr(outcomes[0].body, "Alt-Used") == NULL, "are forgotten");
	is_int(server_stat("requests"), requests + 2, "and nothing is asked for besides");
}

static void
test_failures(void)
{
	char		url[256];
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	length = sizeof(address);
	int			closed = socket(AF_INET, SOCK_STREAM, 0);

	failed(fetch("hang", 1000), "timeout", "timed out after 1 seconds, while the answer was awaited",
		   "an endpoint that hangs");
	is_string(outcomes[0].result.remote_address, "127.0.0.1", "has an address");
	failed(fetch("drip", 1000), "timeout", "timed out after 1 seconds, while the answer was read",
		   "an answer that drips");
	is_string(fetch("reset", DEADLINE_MS)->error_code, "reset", "a reset");
	ok(strstr(outcomes[0].result.error, "reset") != NULL, "says so");
	failed(fetch("close", DEADLINE_MS), "reset",
		   "the endpoint closed the connection without an answer", "a close");
	failed(fetch("partial", DEADLINE_MS), "reset",
		   "the endpoint closed the connection in the middle of its answer", "half an answer");
	is_string(fetch("garbage", DEADLINE_MS)->error_code, "protocol", "garbage");
	is_string(fetch("status_garbage", DEADLINE_MS)->error_code, "protocol", "garbage for a status");
	ok(fetch("chunk_garbage", DEADLINE_MS)->error_code != NULL, "garbage for a chunk has failed");
	ok(strstr(outcomes[0].result.error, "hunk") != NULL, "with a reason");

	/* a port that nobody can listen on: bound, but not listening */
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(closed, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		getsockname(closed, (struct sockaddr *) &address, &length) != 0)
		exit(1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(address.sin_port));
	failed(fetch_url(url, DEADLINE_MS, 100), "refused", "the connection was refused", "a closed port");
	is_string(outcomes[0].result.remote_address, "", "has no address");
	failed(fetch_url("http://name.invalid/", DEADLINE_MS, 100), "dns",
		   "the host name could not be resolved", "an unknown name");
	failed(fetch_url("ftp://127.0.0.1/", DEADLINE_MS, 100), "protocol",
		   "plain http is not allowed: fluxhooks.allow_http is off", "another protocol");
	close(closed);
}

/* ------------------------------------------------------------ policy */

static void
test_policy(void)
{
	char		url[256];
	char		error[256];
	HttpPolicy	bad = {"10.0.0.1/8", true, "", ""};
	int			connections;

	snprintf(url, sizeof(url), "http://both.test:%d/status/200", http_port);
	is_int(fetch_url(url, DEADLINE_MS, 100)->status_code, 200,
		   "of two addresses the one that is allowed is called");
	connections = server_stat("connections");
	policy("", true, "", "");
	failed(fetch("status/200", DEADLINE_MS), "address_denied",
		   "the address 127.0.0.1 is not public (loopback) and not in fluxhooks.allowed_networks",
		   "loopback");
	is_string(outcomes[0].result.remote_address, "", "was never called");
	snprintf(url, sizeof(url), "http://tls.test:%d/status/200", http_port);
	failed(fetch_url(url, DEADLINE_MS, 100), "address_denied",
		   "the address 127.0.0.1 is not public (loopback) and not in fluxhooks.allowed_networks",
		   "a name for loopback");
	is_string(fetch_url("http://both.test/", DEADLINE_MS, 100)->error_code, "address_denied",
			  "two addresses, both private");
	is_string(fetch_url("http://[::1]/", DEADLINE_MS, 100)->error_code, "address_denied", "::1");
	is_string(fetch_url("http://[::ffff:127.0.0.1]/", DEADLINE_MS, 100)->error_code,
			  "address_denied", "a mapped address");
	is_string(fetch_url("http://0x7f.1/", DEADLINE_MS, 100)->error_code, "address_denied",
			  "an address in hexadecimal");
	is_string(fetch_url("http://localhost/", DEADLINE_MS, 100)->error_code, "address_denied",
			  "localhost");
	ok(!http_set_policy(&bad, error, sizeof(error)) && strstr(error, "10.0.0.1/8") != NULL,
	   "a bad list is not taken");
	bad.allowed_networks = "127.0.0.0/8";
	bad.proxy = "gopher://secret@127.0.0.1";
	ok(!http_set_policy(&bad, error, sizeof(error)) && strstr(error, "secret") == NULL,
	   "nor a bad proxy, whose password is not told");
	is_string(fetch("status/200", DEADLINE_MS)->error_code, "address_denied",
			  "and what was in force before still is");
	policy("127.0.0.0/8", false, "", "");
	failed(fetch("status/200", DEADLINE_MS), "protocol",
		   "plain http is not allowed: fluxhooks.allow_http is off", "plain http, not allowed");
	policy("127.0.0.0/8", true, "", "");
	is_int(server_stat("connections"), connections + 1, "no connection was made in all this");
	is_int(server_stat("open"), 1, "and the one before is gone");
}

/* A connection that was opened under another policy is judged again before it is used. */
static void
test_policy_reuse(void)
{
	int			requests;

	if (LIBCURL_VERSION_NUM < 0x075000)
	{
		skip(1, "before 7.80, libcurl does not let a connection be judged again");
		return;
	}
	fetch("status/200", DEADLINE_MS);
	requests = server_stat("requests");
	reset();
	start(0, "status/200", DEADLINE_MS);	/* will find that connection free */
	policy("", true, "", "");
	run();
	failed(&outcomes[0].result, "address_denied",
		   "the address 127.0.0.1 is not public (loopback) and not in fluxhooks.allowed_networks",
		   "a connection of the former policy");
	policy("127.0.0.0/8", true, "", "");
	is_int(server_stat("requests"), requests + 1, "carries no request");
}

static void
test_policy_own(void)
{
	failed(fetch_url("http://" OWN_ADDRESS ":9/", DEADLINE_MS, 100), "address_denied",
		   "the address " OWN_ADDRESS " is not public (this server itself) and not in fluxhooks.allowed_networks",
		   "an address of this machine");
	is_string(fetch_url("http://own.test:9/", DEADLINE_MS, 100)->error_code, "address_denied",
			  "a name for it");
	is_string(fetch_url("http://[64:ff9b::" OWN_ADDRESS "]:9/", DEADLINE_MS, 100)->error_code,
			  "address_denied", "the same through NAT64");
	interfaces_unknown = true;
	is_string(fetch_url("http://" OWN_ADDRESS ":9/", DEADLINE_MS, 100)->error_code,
			  "address_denied", "nothing is called where the machine's addresses cannot be had");
	is_int(fetch("status/200", DEADLINE_MS)->status_code, 200, "but what is listed");
	interfaces_unknown = false;
}

/* A request under way goes on; what it has yet to open is judged anew. */
static void
test_policy_under_way(void)
{
	char		url[256];

	reset();
	start(0, "drip", DEADLINE_MS);
	start(1, "status/200", DEADLINE_MS);
	run_until(1);
	is_int(outcomes[1].result.status_code, 200, "policy changes while a request is under way");
	policy("", true, "", "");
	start(2, "status/200", DEADLINE_MS);
	run_until(2);
	is_string(outcomes[2].result.error_code, "address_denied", "the next one is refused");
	is_int(http_in_flight(), 1, "the one under way goes on");
	http_cancel(&outcomes[0]);

	/* its handle, which was set up for the old policy, must not serve under the new */
	policy("127.0.0.0/8", true, "", "");
	reset();
	start(0, "hang", DEADLINE_MS);
	policy("127.0.0.0/8", false, "", "");
	http_cancel(&outcomes[0]);
	is_string(fetch("status/200", DEADLINE_MS)->error_code, "protocol",
			  "after a request of the old policy comes one of the new");

	policy("127.0.0.0/8", true, "", "");
	reset();
	pthread_mutex_lock(&resolver_lock);
	snprintf(url, sizeof(url), "http://tls.test:%d/status/200", http_port);
	start_url(0, url, DEADLINE_MS, 100);
	http_progress();			/* begins to resolve, which takes the lock */
	policy("", true, "", "");
	pthread_mutex_unlock(&resolver_lock);
	run();
	is_string(outcomes[0].result.error_code, "address_denied",
			  "a request that was resolving its name is judged by the new policy");
	policy("127.0.0.0/8", true, "", "");
}

static void
test_proxy(void)
{
	char		proxy[64];
	char		url[256];

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", http_port);
	policy("", true, "", proxy);
	fetch_url("http://name.invalid/echo", DEADLINE_MS, 10000);
	is_int(outcomes[0].result.status_code, 200, "a proxy is used, and resolves names itself");
	ok(strstr(outcomes[0].body, "POST http://name.invalid/echo ") == outcomes[0].body,
	   "and is asked for the whole URL");
	snprintf(url, sizeof(url), "https://name.invalid:%d/", https_port);
	failed(fetch_url(url, DEADLINE_MS, 100), "refused",
		   "the proxy refused the connection with status 403", "a proxy that refuses");
	policy("127.0.0.0/8", true, "", "");
}

/* A connection such as libcurl's, and its other end. */
static int
connection(int *peer)
{
	HttpTransfer transfer = {0};
	struct curl_sockaddr wanted = {.family = AF_INET, .socktype = SOCK_STREAM, .addrlen = sizeof(struct sockaddr_in)};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	size = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	int			fd;

	if (bind(listener, (struct sockaddr *) &address, size) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &size) != 0)
		exit(1);
	memcpy(&wanted.addr, &address, sizeof(address));
	fd = http_open_socket(&transfer, CURLSOCKTYPE_IPCXN, &wanted);
	if (fd < 0 || connect(fd, (struct sockaddr *) &address, size) != 0 || (*peer = accept(listener, NULL, NULL)) < 0)
	{
		printf("Bail out! no connection\n");
		exit(1);
	}
	close(listener);
	return fd;
}

/* How many bytes come out of a connection before it ends, at most as many as given. */
static long
read_all(int fd, long most)
{
	char		bytes[4096];
	long		total = 0;
	ssize_t		count;

	while (total < most && (count = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		total += count;
	return total;
}

/* Of several connections that have something to read, the one that the call reads from is broken off. */
static void
test_guard(void)
{
	static char chunk[65536];
	int			peer[3];
	int			fd[3];
	long		total = 0;
	ssize_t		count;
	clock_t		start;

	for (int i = 0; i < 3; i++)
		fd[i] = connection(&peer[i]);
	/* one that was read from much, before; one that never was; each has something to read */
	for (int i = 0; i < 100; i++)
		total += write(peer[0], chunk, sizeof(chunk)) + read_all(fd[0], sizeof(chunk));
	is_int(total, 200 * sizeof(chunk), "a connection is read from");
	is_int(write(peer[0], chunk, 10000) + write(peer[2], chunk, 10000), 20000, "there is more to read");
	start = clock();
	http_guard_enter();
	do
	{
		count = send(peer[1], chunk, 100, MSG_NOSIGNAL);
		if (count > 0)
			count = recv(fd[1], chunk, 100, 0);
	} while (count > 0 && (clock() - start) / CLOCKS_PER_SEC < 10);
	http_guard_leave();
	ok(count <= 0, "the connection that is read from ends");
	for (int i = 0; i < 3; i += 2)
	{
		is_int(read_all(fd[i], 10000), 10000, "another is still to be read from");
		is_int(send(fd[i], chunk, 1, MSG_NOSIGNAL), 1, "and can be written to");
	}
	for (int i = 0; i < 3; i++)
	{
		http_close_socket(NULL, fd[i]);
		close(peer[i]);
	}
}

/* An endpoint that keeps libcurl reading holds nobody up. */
static void
test_flood(void)
{
	char		url[256];

	policy("127.0.0.0/8", true, ca_file, "");
	reset();
	snprintf(url, sizeof(url), "https://tls.test:%d/", flood_port);
	start_url(0, url, 5000, 100);
	run_until(1);
	is_int(outcomes[0].result.status_code, 0, "a flood");
	/* 7.88 does not return from reading it, 8.14 does */
	if (LIBCURL_VERSION_NUM >= 0x080000 && strcmp(outcomes[0].result.error_code, "timeout") == 0)
		is_string(outcomes[0].result.error, "timed out after 5 seconds, while the answer was awaited", "and why");
	else if (LIBCURL_VERSION_NUM >= 0x075000)
		is_string(outcomes[0].result.error,
				  "the connection was broken off, since it brought without pause what is no answer", "and why");
	else
		skip(1, "before 7.80, libcurl does not tell which connection it was");
	reset();
	start_url(0, url, 5000, 100);
	start(1, "hang", 7000);
	start(2, "status/200", DEADLINE_MS);
	run_until(2);
	is_int(outcomes[0].result.status_code, 0, "a flood beside others has failed");
	is_int(outcomes[2].result.status_code, 200, "one that was answered counts");
	run();
	is_string(outcomes[1].result.error_code, "timeout", "and one that hangs goes on");
	policy("127.0.0.0/8", true, "", "");
}

/* Endpoints that answer without waiting for the body, which is larger than what they may be sent. */
static void
test_early_answer(void)
{
	size_t		size = 300 * 1024;
	char	   *body = malloc(size);
	char		url[256];
	char		error[256];
	HttpRequest request = {.url = url, .body = body, .body_len = size, .timeout_ms = DEADLINE_MS,
	.max_response = 100, .arg = &outcomes[0]};

	policy("127.0.0.0/8", false, ca_file, "");
	memset(body, 'b', size);
	snprintf(url, sizeof(url), "https://tls.test:%d/reset/0", https_port);
	reset();
	ok(http_start(&request, error, sizeof(error)), "a request that is answered early");
	run();
	is_int(outcomes[0].result.status_code, 200, "a stream that is reset without an error has been answered");
	is_string(outcomes[0].body, "early", "and the answer is kept");
	snprintf(url, sizeof(url), "https://tls.test:%d/reset/2", https_port);
	reset();
	ok(http_start(&request, error, sizeof(error)), "a request whose stream breaks");
	run();
	is_int(outcomes[0].result.status_code, 0, "a stream that is reset with an error has not");
	free(body);
	policy("127.0.0.0/8", true, "", "");
}

static void
test_tls(void)
{
	char		url[256];
	const HttpResult *result;

	snprintf(url, sizeof(url), "https://tls.test:%d/", https_port);
	result = fetch_url(url, DEADLINE_MS, 100);
	is_int(result->status_code, 0, "a certificate that nobody signed");
	is_string(result->error_code, "tls", "has failed");
	ok(result->error[0] != '\0', "with a reason");
	is_string(result->remote_address, "127.0.0.1", "and the address it was found at");
	policy("127.0.0.0/8", false, ca_file, "");
	is_int(fetch_url(url, DEADLINE_MS, 100)->status_code, 200, "the same, trusted by ca_file");
	is_string(outcomes[0].body, "version 2.0", "speaks HTTP/2");
	is_int(fetch_url(url, DEADLINE_MS, 100)->status_code, 200, "again");
	snprintf(url, sizeof(url), "https://tls.test:%d/hang", https_port);
	failed(fetch_url(url, 1000, 100), "timeout",
		   "timed out after 1 seconds, while the answer was awaited", "a stream that hangs");
	snprintf(url, sizeof(url), "https://other.test:%d/", https_port);
	is_string(fetch_url(url, DEADLINE_MS, 100)->error_code, "tls", "a certificate for another name");
	snprintf(url, sizeof(url), "https://tls.test:%d/", http_port);
	is_string(fetch_url(url, 2000, 100)->error_code, "timeout", "a server that says nothing to TLS");
	is_string(outcomes[0].result.error, "timed out after 2 seconds, "
			  "while connecting or in the TLS handshake", "says so");
	policy("127.0.0.0/8", true, "/nonexistent/ca.pem", "");
	snprintf(url, sizeof(url), "https://tls.test:%d/", https_port);
	failed(fetch_url(url, DEADLINE_MS, 100), "tls",
		   "the trust store (fluxhooks.ca_file) could not be read", "a ca_file that is not there");
	policy("127.0.0.0/8", true, "", "");
}

/* ------------------------------------------------------- many at a time */

static void
test_keep_alive(void)
{
	int			connections = server_stat("connections");
	struct pollfd idle = {.fd = http_descriptor(), .events = POLLIN};
	int			i;

	for (i = 0; i < 20; i++)
		fetch("status/200", DEADLINE_MS);
	is_int(server_stat("connections"), connections, "requests one after another share a connection");
	fetch("last", DEADLINE_MS);
	is_int(server_stat("connections"), connections + 1, "until the endpoint closes it");
	for (i = 0; i < 15; i++)
	{
		if (fetch("tired", DEADLINE_MS)->status_code != 200)
			break;
	}
	is_int(i, 15, "a request over a connection that ends is sent again, however often that has happened before");
	for (i = 0; i < 5; i++)
		is_int(fetch("silent", DEADLINE_MS)->status_code, 200, "an endpoint that closes unannounced");
	poll(&idle, 1, 500);		/* most likely the end arrives now */
	http_progress();
	is_int(poll(&idle, 1, 0), 0, "does not keep the descriptor readable");
}

static void
test_concurrency(void)
{
	int			i;

	reset();
	start(0, "hang", DEADLINE_MS);
	for (i = 1; i < 32; i++)
		start(i, "status/200", DEADLINE_MS);
	is_int(http_in_flight(), 32, "32 requests at once");
	run_until(31);
	for (i = 1; i < 32; i++)
	{
		if (outcomes[i].times != 1 || outcomes[i].result.status_code != 200)
			break;
	}
	is_int(i, 32, "each is answered, once, and none waits for the one that hangs");
	is_int(outcomes[0].times, 0, "which hangs");
	http_cancel(&outcomes[0]);
}

static void
start_next(int which)
{
	if (which + 1 < MAX_REQUESTS)
		start(which + 1, "status/200", DEADLINE_MS);
}

static void
cancel_others(int which)
{
	int			i;

	for (i = 0; i < 8; i++)
	{
		if (i != which)
			http_cancel(&outcomes[i]);
	}
	http_cancel(&outcomes[which]);
	http_progress();
}

static void
change_policy(int which)
{
	policy("127.0.0.0/8", true, "", "");
	if (which < 4)
		start(which + 4, "status/200", DEADLINE_MS);
}

static void
test_from_done(void)
{
	int			i;

	reset();
	on_done = start_next;
	start(0, "status/200", DEADLINE_MS);
	run();
	is_int(ended, MAX_REQUESTS, "done may start requests");
	reset();
	on_done = cancel_others;
	for (i = 0; i < 8; i++)
		start(i, "status/200", DEADLINE_MS);
	run();
	is_int(ended, 1, "done may cancel requests, ended ones too");
	reset();
	on_done = change_policy;
	for (i = 0; i < 4; i++)
		start(i, "status/200", DEADLINE_MS);
	run();
	is_int(ended, 8, "done may change the policy");
	for (i = 0; i < 8; i++)
		is_int(outcomes[i].result.status_code, 200, "and all are answered");
}

static void
test_cancel(void)
{
	long long	deadline = now_ms() + DEADLINE_MS;
	int			i;

	reset();
	for (i = 1; i < 5; i++)
		start(i, "hang", DEADLINE_MS);
	while (server_stat("hanging") < 4 && now_ms() < deadline)
		 /* ask again */ ;
	is_int(http_in_flight(), 4, "four requests hang");
	http_cancel(&outcomes[60]);
	is_int(http_in_flight(), 4, "one that is not under way cannot be cancelled");
	for (i = 1; i < 5; i++)
		http_cancel(&outcomes[i]);
	is_int(http_in_flight(), 0, "those that are can");
	while (server_stat("hanging") > 0 && now_ms() < deadline)
		 /* ask again */ ;
	is_int(server_stat("hanging"), 0, "and end at the endpoint too");
	for (i = 1; i < 5; i++)
		is_int(outcomes[i].times, 0, "without done");
}

/* ------------------------------------------------------------ resolving */

/* No thread is left, and none was open to signals. */
static void
test_resolver_threads(void)
{
	pthread_mutex_lock(&resolver_lock);
	resolver_hangs = false;
	pthread_cond_broadcast(&resolver_free);
	while (resolver_hanging > 0)
		pthread_cond_wait(&resolver_free, &resolver_lock);
	ok(!resolver_waited_for, "no request waits for its resolver thread");
	ok(!resolver_open_to_signals, "no resolver thread ever took signals");
	pthread_mutex_unlock(&resolver_lock);
}

static void
test_resolving(void)
{
	long long	deadline = now_ms() + DEADLINE_MS;
	sigset_t	before;
	sigset_t	after;
	bool		hanging = false;
	int			number;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	failed(fetch_url("http://hang.test/", 1500, 100), "timeout",
		   "timed out after 1.5 seconds, while resolving the host name", "a name server that hangs");
	reset();
	start_url(1, "http://hang.test/", DEADLINE_MS, 100);
	while (!hanging)
	{
		turn(deadline);
		pthread_mutex_lock(&resolver_lock);
		hanging = resolver_hanging == 2;
		pthread_mutex_unlock(&resolver_lock);
	}
	http_cancel(&outcomes[1]);
	is_int(http_in_flight(), 0, "a request that resolves its name can be cancelled");
	is_int(fetch("status/200", DEADLINE_MS)->status_code, 200, "and delays no other");
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (number = 1; number < NSIG; number++)
	{
		if (sigismember(&before, number) != sigismember(&after, number))
			break;
	}
	is_int(number, NSIG, "the signal mask is as it was");
}

static void
test_descriptors(void)
{
	int			before;

	fetch("status/200", DEADLINE_MS);
	before = descriptors;
	ok(before >= 2, "the epoll set and connections are counted");
	reserve_allowed = false;
	is_int(fetch("status/200", DEADLINE_MS)->status_code, 200, "without descriptors an open connection does");
	reset();
	start(0, "hang", DEADLINE_MS);
	start(1, "status/200", DEADLINE_MS);
	run_until(1);
	failed(&outcomes[1].result, "refused", "no file descriptor was free for a connection",
		   "a second connection");
	reserve_allowed = true;
	http_cancel(&outcomes[0]);
	http_progress();
	is_int(descriptors, 1, "idle connections are given up for it");
	is_int(fetch("status/200", DEADLINE_MS)->status_code, 200, "so that the next attempt succeeds");
}

/* ------------------------------------------------------------ URLs */

static const struct
{
	const char *url;
	HttpUrlProblem problem;
	const char *host;
	const char *key;
}			urls[] = {
	{"http://example.com", HTTP_URL_OK, "example.com", "http://example.com:80"},
	{"https://example.com/", HTTP_URL_OK, "example.com", "https://example.com:443"},
	{"HTTPS://Example.COM:8443/Path?q=1#f", HTTP_URL_OK, "example.com", "https://example.com:8443"},
	{"http://example.com:080/", HTTP_URL_OK, "example.com", "http://example.com:80"},
	{"http://127.0.0.1:3000/x", HTTP_URL_OK, "127.0.0.1", "http://127.0.0.1:3000"},
	{"http://[::1]:3000/x", HTTP_URL_OK, "::1", "http://[::1]:3000"},
	{"http://[FE80::1%25eth0]/", HTTP_URL_OK, "fe80::1", "http://[fe80::1]:80"},
	{"http://localhost", HTTP_URL_OK, "localhost", "http://localhost:80"},
	{"http://a.b./", HTTP_URL_OK, "a.b.", "http://a.b.:80"},
	{"http://example.com/@me", HTTP_URL_OK, "example.com", "http://example.com:80"},
	{"http://example.com/?u=a:b@c", HTTP_URL_OK, "example.com", "http://example.com:80"},
	{"ftp://example.com/", HTTP_URL_SCHEME, NULL, NULL},
	{"file:///etc/passwd", HTTP_URL_SCHEME, NULL, NULL},
	{"example.com/x", HTTP_URL_SCHEME, NULL, NULL},
	{"//example.com/x", HTTP_URL_SCHEME, NULL, NULL},
	{"httpx://example.com/", HTTP_URL_SCHEME, NULL, NULL},
	{"http+unix://example.com/", HTTP_URL_SCHEME, NULL, NULL},
	{"javascript:alert(1)", HTTP_URL_SCHEME, NULL, NULL},
	{"http://", HTTP_URL_NO_HOST, NULL, NULL},
	{"http://:80/", HTTP_URL_NO_HOST, NULL, NULL},
	{"http://?q", HTTP_URL_NO_HOST, NULL, NULL},
	{"http:///example.com/", HTTP_URL_NO_HOST, NULL, NULL},
	{"HTTPS:////example.com/", HTTP_URL_NO_HOST, NULL, NULL},
	{"http://user@example.com/", HTTP_URL_USERINFO, NULL, NULL},
	{"http://user:pass@example.com/", HTTP_URL_USERINFO, NULL, NULL},
	{"http://:pass@example.com/", HTTP_URL_USERINFO, NULL, NULL},
	{"http://example.com@127.0.0.1/", HTTP_URL_USERINFO, NULL, NULL},
	{"", HTTP_URL_MALFORMED, NULL, NULL},
	{" http://example.com", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com ", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://exa mple.com/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com/a b", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com/\r\nX-Evil: 1", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com/\x7f", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com:0/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com:65536/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example.com:8o/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://[::1/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://[gg::1]/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http:example.com", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example%7f.com/", HTTP_URL_MALFORMED, NULL, NULL},
#if LIBCURL_VERSION_NUM >= 0x075700
	{"http://example%2ecom/", HTTP_URL_OK, "example.com", "http://example.com:80"},
#else							/* 7.74 leaves host names as they are written */
	{"http://example%2ecom/", HTTP_URL_MALFORMED, NULL, NULL},
#endif
	{"http://example%2f.com/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://example%40example.com/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://%2531.example.com/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http://exa%20mple.com/", HTTP_URL_MALFORMED, NULL, NULL},
	{"http:/example.com", HTTP_URL_MALFORMED, NULL, NULL},
};

static void
test_urls(void)
{
	HttpUrl		url;
	char		text[4096];
	size_t		i;

	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		memset(&url, 'x', sizeof(url));
		if (!ok(http_url_parse(urls[i].url, &url) == urls[i].problem, "URL %zu", i))
			printf("#   %s: got %d\n", urls[i].url, http_url_parse(urls[i].url, &url));
		if (urls[i].host == NULL)
			continue;
		is_string(url.host, urls[i].host, "has its host");
		is_string(url.key, urls[i].key, "and its key");
		ok(url.https == (strncmp(urls[i].key, "https", 5) == 0), "and its scheme");
	}
	snprintf(text, sizeof(text), "http://example.com/%02029d", 0);
	ok(http_url_parse(text, &url) == HTTP_URL_OK, "2,048 bytes are a URL");
	strcat(text, "0");
	ok(http_url_parse(text, &url) == HTTP_URL_MALFORMED, "2,049 are not");
	snprintf(text, sizeof(text), "http://%0255d.test/", 0);
	ok(http_url_parse(text, &url) == HTTP_URL_MALFORMED, "a host of 260 bytes is none");
}

int
main(void)
{
	char		error[256] = "";

	signal(SIGPIPE, SIG_IGN);
	test_urls();				/* before anything is started, as backends do */
	server_start();
	ok(http_startup(done, reserve, release, error, sizeof(error)), "startup %s", error);
	is_string(fetch("status/200", DEADLINE_MS)->error_code, "address_denied",
			  "only public addresses until told otherwise");
	policy("127.0.0.0/8", true, "", "");
	test_answers();
	test_request();
	test_large_body();
	test_large_answers();
	test_hostile_answers();
	test_failures();
	test_policy();
	test_policy_reuse();
	test_policy_own();
	test_policy_under_way();
	test_proxy();
	test_tls();
	test_guard();
	test_flood();
	test_early_answer();
	test_keep_alive();
	test_concurrency();
	test_from_done();
	test_cancel();
	if (LIBCURL_VERSION_NUM >= 0x075700)
		test_resolving();
	else
		skip(1, "before 7.87, libcurl waits for a name server that hangs");
	test_resolver_threads();
	test_descriptors();
	start(0, "hang", DEADLINE_MS);
	http_progress();
	http_shutdown();
	is_int(descriptors, 0, "after shutdown nothing is held");
	ok(http_startup(done, reserve, release, error, sizeof(error)), "startup again");
	http_shutdown();
	server_stop();
	return tap_done();
}
