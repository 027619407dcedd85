/*
 * progress.c
 *	  Which events of which windows are settled, and the cursor that follows.
 *
 * Windows follow each other without a gap: what one ends with is what the next
 * begins after.  Several may be open, since reading goes on while requests
 * are under way; the cursor stands in the first of them.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "progress.h"

struct OpenWindow
{
	dlist_node	node;
	LogSnapshot *next;
	LogPosition settled;		/* every event up to here is settled */
	bool		read;			/* no event will be added */
	dlist_head	events;
};

static MemoryContext progress_context = NULL;
static dlist_head windows = DLIST_STATIC_INIT(windows);
static LogSnapshot *settled = NULL; /* everything it sees is settled */
static LogSnapshot *newest = NULL;
static int	n_open = 0;
static bool moved = false;

void
progress_init(MemoryContext context, const Cursor *cursor)
{
	progress_context = AllocSetContextCreate(context, "fluxhooks progress", ALLOCSET_DEFAULT_SIZES);
	settled = log_snapshot_copy(cursor->last, progress_context);
	newest = log_snapshot_copy(cursor->last, progress_context);
}

const LogSnapshot *
progress_newest(void)
{
	return newest;
}

OpenWindow *
progress_open_window(const LogSnapshot *next, const LogPosition *position)
{
	OpenWindow *window = MemoryContextAllocZero(progress_context, sizeof(OpenWindow));

	window->next = log_snapshot_copy(next, progress_context);
	if (position != NULL)
		window->settled = *position;
	else
		window->settled.last_seq = -1;
	dlist_init(&window->events);
	dlist_push_tail(&windows, &window->node);
	log_snapshot_free(newest);
	newest = log_snapshot_copy(next, progress_context);
	moved = true;
	return window;
}

/*
 * The last window, if one is open, may as well end here.  This alone is no
 * reason to write the cursor, or an idle database would write it for ever.
 */
void
progress_skip(const LogSnapshot *next)
{
	log_snapshot_free(newest);
	newest = log_snapshot_copy(next, progress_context);
	if (dlist_is_empty(&windows))
	{
		log_snapshot_free(settled);
		settled = log_snapshot_copy(next, progress_context);
	}
	else
	{
		OpenWindow *last = dlist_tail_element(OpenWindow, node, &windows);

		log_snapshot_free(last->next);
		last->next = log_snapshot_copy(next, progress_context);
	}
}

OpenEvent *
progress_add_event(OpenWindow *window, const LogPosition *position, int unsettled)
{
	OpenEvent  *event = MemoryContextAlloc(progress_context, sizeof(OpenEvent));

	event->position = *position;
	event->unsettled = unsettled;
	dlist_push_tail(&window->events, &event->node);
	n_open++;
	return event;
}

void
progress_window_read(OpenWindow *window)
{
	window->read = true;
	moved = true;
}

void
progress_settle(OpenEvent *event)
{
	Assert(event->unsettled > 0);
	event->unsettled--;
}

int
progress_n_open(void)
{
	return n_open;
}

static void
progress_forget_events(OpenWindow *window)
{
	while (!dlist_is_empty(&window->events))
	{
		OpenEvent  *event = dlist_head_element(OpenEvent, node, &window->events);

		if (event->unsettled > 0)
			return;
		window->settled = event->position;
		dlist_delete(&event->node);
		pfree(event);
		n_open--;
		moved = true;
	}
}

bool
progress_cursor(Cursor *cursor)
{
	OpenWindow *window = NULL;
	bool		result;

	while (!dlist_is_empty(&windows))
	{
		window = dlist_head_element(OpenWindow, node, &windows);
		progress_forget_events(window);
		if (!window->read || !dlist_is_empty(&window->events))
			break;
		dlist_delete(&window->node);
		log_snapshot_free(settled);
		settled = window->next;
		pfree(window);
		window = NULL;
		moved = true;
	}
	cursor->last = settled;
	cursor->next = window ? window->next : NULL;
	if (window)
		cursor->position = window->settled;
	result = moved;
	moved = false;
	return result;
}
