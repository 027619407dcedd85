/*
 * sample.c
 *	  test_webhook's request and its answer, in a segment of dynamic shared
 *	  memory that the backend makes and the worker of its database finds through a
 *	  place in its slot.
 *
 * Whoever moves the segment's state on owns what is in it:
 *
 *	HANDED -> TAKEN		worker; it copies the request out and wipes it
 *	HANDED -> LEFT		backend gave up or died; it wipes the request
 *	TAKEN -> LEFT		the same; the worker cancels the request
 *	TAKEN -> DONE		worker has put the answer in; the backend wipes it
 *
 * A queue (shm_mq) would carry the answer but not the news that nobody waits
 * for it any more, before there is one; and it could not be wiped.  The segment
 * holds lengths and bytes only, and a condition variable to wait on.
 */
#include "postgres.h"

#include <stdlib.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"

#include "compat.h"
#include "sample.h"
#include "shared.h"

#define SAMPLE_HANDED	1
#define SAMPLE_TAKEN	2
#define SAMPLE_LEFT		3
#define SAMPLE_DONE		4

#define SAMPLE_CODE_SIZE	32
#define SAMPLE_CHECK_MS		500		/* how often to look whether the worker lives */
#define SAMPLE_GRACE_MS		10000	/* for the worker, beyond the request's own time */

typedef struct Answer
{
	int			status_code;
	double		response_time_ms;
	char		remote_address[HTTP_ADDRESS_SIZE];
	char		retry_after[HTTP_RETRY_AFTER_SIZE];
	char		error_code[SAMPLE_CODE_SIZE];	/* "" = NULL */
	char		error[HTTP_ERROR_SIZE];
	size_t		body_len;
} Answer;

typedef struct Segment
{
	pg_atomic_uint32 state;
	ConditionVariable done;
	Oid			database;
	int			place;			/* known to the backend only; -1 = none */
	int			timeout_ms;
	size_t		max_response;
	size_t		url_size;		/* with its final \0 */
	size_t		headers_size;	/* lines, each with its final \0 */
	int			n_headers;
	size_t		body_len;
	Answer		answer;
	char		bytes[FLEXIBLE_ARRAY_MEMBER];	/* url, headers, body; the
												 * response's body behind it */
} Segment;

/* In the worker: the request in each place. */
typedef struct Sample
{
	uint32		seen;			/* handle that was taken or let be */
	dsm_segment *seg;			/* NULL: nothing under way */
	char	   *copy;			/* malloc'd */
	size_t		copy_size;
} Sample;

static Sample samples[SHARED_SAMPLES];

static size_t
sample_request_size(const Segment *segment)
{
	return segment->url_size + segment->headers_size + segment->body_len;
}

static void
sample_wipe_request(Segment *segment)
{
	explicit_bzero(segment->bytes, sample_request_size(segment));
}

static void
sample_wipe_answer(Segment *segment)
{
	explicit_bzero(&segment->answer, sizeof(segment->answer));
	explicit_bzero(segment->bytes + sample_request_size(segment), segment->max_response);
}

static bool
sample_move(Segment *segment, uint32 from, uint32 to)
{
	return pg_atomic_compare_exchange_u32(&segment->state, &from, to);
}

/*
 * The backend
 */

static char *
sample_append(char *p, const char *bytes, size_t size)
{
	memcpy(p, bytes, size);
	return p + size;
}

static dsm_segment *
sample_flatten(const HttpRequest *request)
{
	size_t		url_size = strlen(request->url) + 1;
	size_t		headers_size = 0;
	dsm_segment *seg;
	Segment    *segment;
	char	   *p;
	int			i;

	for (i = 0; i < request->n_headers; i++)
		headers_size += strlen(request->headers[i]) + 1;
	seg = dsm_create(offsetof(Segment, bytes) + url_size + headers_size +
					 request->body_len + request->max_response, 0);
	segment = dsm_segment_address(seg);

	pg_atomic_init_u32(&segment->state, SAMPLE_HANDED);
	ConditionVariableInit(&segment->done);
	segment->database = MyDatabaseId;
	segment->place = -1;
	segment->timeout_ms = request->timeout_ms;
	segment->max_response = request->max_response;
	segment->url_size = url_size;
	segment->headers_size = headers_size;
	segment->n_headers = request->n_headers;
	segment->body_len = request->body_len;
	p = sample_append(segment->bytes, request->url, url_size);
	for (i = 0; i < request->n_headers; i++)
		p = sample_append(p, request->headers[i], strlen(request->headers[i]) + 1);
	sample_append(p, request->body, request->body_len);
	return seg;
}

/*
 * The backend lets go of the segment: in the end, by an error, a cancellation
 * or its exit.
 */
static void
sample_leave(dsm_segment *seg, Datum arg)
{
	Segment    *segment = dsm_segment_address(seg);

	if (segment->place >= 0)
		shared_sample_remove(segment->database, segment->place, dsm_segment_handle(seg));
	if (sample_move(segment, SAMPLE_HANDED, SAMPLE_LEFT))
		sample_wipe_request(segment);
	else if (!sample_move(segment, SAMPLE_TAKEN, SAMPLE_LEFT))
		sample_wipe_answer(segment);
}

static void
sample_hand_over(dsm_segment *seg, int *worker_pid)
{
	Segment    *segment = dsm_segment_address(seg);
	int			place;

	on_dsm_detach(seg, sample_leave, (Datum) 0);
	place = shared_sample_put(dsm_segment_handle(seg), worker_pid);
	if (place == SHARED_SAMPLE_NO_WORKER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no fluxhooks worker runs in this database"),
				 shared_exists()
				 ? errhint("The server's log says why; a worker that failed is started again within a minute.")
				 : errhint("Add fluxhooks to shared_preload_libraries and restart the server.")));
	if (place == SHARED_SAMPLE_FULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many test requests are under way in this database"),
				 errdetail("At most %d wait at once.", SHARED_SAMPLES)));
	segment->place = place;
}

static void
sample_wait(Segment *segment, int worker_pid)
{
	static uint32 wait_event = 0;
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	ConditionVariablePrepareToSleep(&segment->done);
	while (pg_atomic_read_u32(&segment->state) != SAMPLE_DONE)
	{
		instr_time	elapsed;

		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, start);
		if (!shared_worker_is(worker_pid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the fluxhooks worker ended while the test request was under way"),
					 errhint("Try again once it has been started anew.")));
		if (INSTR_TIME_GET_MILLISEC(elapsed) > (double) segment->timeout_ms + SAMPLE_GRACE_MS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the fluxhooks worker did not answer in time")));
		ConditionVariableTimedSleep(&segment->done, SAMPLE_CHECK_MS, compat_wait_event(&wait_event, "FluxhooksTestRequest"));
	}
	ConditionVariableCancelSleep();
	pg_read_barrier();
}

static void
sample_take_answer(Segment *segment, const HttpRequest *request, HttpResult *result)
{
	const Answer *answer = &segment->answer;
	char	   *body = palloc(answer->body_len + 1);

	memcpy(body, segment->bytes + sample_request_size(segment), answer->body_len);
	body[answer->body_len] = '\0';

	memset(result, 0, sizeof(*result));
	result->arg = request->arg;
	result->status_code = answer->status_code;
	result->response_time_ms = answer->response_time_ms;
	strlcpy(result->remote_address, answer->remote_address, sizeof(result->remote_address));
	strlcpy(result->retry_after, answer->retry_after, sizeof(result->retry_after));
	strlcpy(result->error, answer->error, sizeof(result->error));
	result->error_code = answer->error_code[0] != '\0' ? pstrdup(answer->error_code) : NULL;
	result->body = body;
	result->body_len = answer->body_len;
}

void
sample_send(const HttpRequest *request, HttpResult *result)
{
	dsm_segment *seg = sample_flatten(request);
	Segment    *segment = dsm_segment_address(seg);
	int			worker_pid = 0;

	sample_hand_over(seg, &worker_pid);
	sample_wait(segment, worker_pid);
	sample_take_answer(segment, request, result);
	dsm_detach(seg);
}

/*
 * The worker
 */

static void
sample_forget(Sample *sample)
{
	if (sample->copy != NULL)
	{
		explicit_bzero(sample->copy, sample->copy_size);
		free(sample->copy);
	}
	if (sample->seg != NULL)
		dsm_detach(sample->seg);
	sample->copy = NULL;
	sample->seg = NULL;
}

/* Put the answer in, unless the backend has left meanwhile. */
static void
sample_answer(Sample *sample, const HttpResult *result)
{
	Segment    *segment = dsm_segment_address(sample->seg);
	Answer	   *answer = &segment->answer;

	answer->status_code = result->status_code;
	answer->response_time_ms = result->response_time_ms;
	strlcpy(answer->remote_address, result->remote_address, sizeof(answer->remote_address));
	strlcpy(answer->retry_after, result->retry_after, sizeof(answer->retry_after));
	strlcpy(answer->error, result->error, sizeof(answer->error));
	strlcpy(answer->error_code, result->error_code != NULL ? result->error_code : "",
			sizeof(answer->error_code));
	answer->body_len = Min(result->body_len, segment->max_response);
	if (answer->body_len > 0)
		memcpy(segment->bytes + sample_request_size(segment), result->body,
			   answer->body_len);

	if (sample_move(segment, SAMPLE_TAKEN, SAMPLE_DONE))
		ConditionVariableSignal(&segment->done);
	else
		sample_wipe_answer(segment);
	sample_forget(sample);
}

static void
sample_fail(Sample *sample, const char *reason)
{
	HttpResult	result;

	memset(&result, 0, sizeof(result));
	result.error_code = HTTP_ERROR_PROTOCOL;
	strlcpy(result.error, reason, sizeof(result.error));
	sample_answer(sample, &result);
}

/*
 * Copy the request out of the segment, behind the array of its header lines,
 * and wipe it there.
 */
static bool
sample_copy(Sample *sample, Segment *segment, HttpRequest *request)
{
	size_t		array_size = segment->n_headers * sizeof(char *);
	char	   *p;
	int			i;

	sample->copy_size = array_size + sample_request_size(segment);
	sample->copy = malloc(sample->copy_size);
	if (sample->copy != NULL)
		memcpy(sample->copy + array_size, segment->bytes, sample_request_size(segment));
	sample_wipe_request(segment);
	if (sample->copy == NULL)
		return false;

	request->headers = (char **) sample->copy;
	request->url = sample->copy + array_size;
	request->target = NULL;
	p = sample->copy + array_size + segment->url_size;
	for (i = 0; i < segment->n_headers; i++)
	{
		request->headers[i] = p;
		p += strlen(p) + 1;
	}
	request->n_headers = segment->n_headers;
	request->body = p;
	request->body_len = segment->body_len;
	request->timeout_ms = segment->timeout_ms;
	request->max_response = segment->max_response;
	request->arg = sample;
	return true;
}

/* What cannot be attached, or was taken by a worker before, is let be. */
static void
sample_start(Sample *sample, uint32 handle)
{
	Segment    *segment;
	HttpRequest request;
	char		error[HTTP_ERROR_SIZE];

	sample->seen = handle;
	sample->seg = dsm_attach(handle);
	if (sample->seg == NULL)
		return;
	dsm_pin_mapping(sample->seg);	/* beyond a transaction, should there be one */
	segment = dsm_segment_address(sample->seg);
	if (!sample_move(segment, SAMPLE_HANDED, SAMPLE_TAKEN))
	{
		sample_forget(sample);
		return;
	}
	if (!sample_copy(sample, segment, &request))
		sample_fail(sample, "out of memory");
	else if (!http_start(&request, error, sizeof(error)))
		sample_fail(sample, error);
}

static void
sample_reap_one(Sample *sample)
{
	Segment    *segment;

	if (sample->seg == NULL)
		return;
	segment = dsm_segment_address(sample->seg);
	if (pg_atomic_read_u32(&segment->state) == SAMPLE_LEFT)
	{
		http_cancel(sample);
		sample_forget(sample);
	}
}

void
sample_reap(void)
{
	int			i;

	for (i = 0; i < SHARED_SAMPLES; i++)
		sample_reap_one(&samples[i]);
}

void
sample_poll(void)
{
	int			i;

	for (i = 0; i < SHARED_SAMPLES; i++)
	{
		Sample	   *sample = &samples[i];
		uint32		handle = shared_sample_get(i);

		if (handle == sample->seen)
			continue;

		/* the place has changed hands: its former request was given up */
		sample_reap_one(sample);
		if (sample->seg == NULL)
		{
			sample->seen = 0;
			if (handle != 0)
				sample_start(sample, handle);
		}
	}
}

bool
sample_is(const void *arg)
{
	const Sample *sample = arg;

	return sample >= samples && sample < samples + SHARED_SAMPLES;
}

void
sample_done(const HttpResult *result)
{
	sample_answer(result->arg, result);
}
