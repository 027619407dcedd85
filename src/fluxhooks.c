/*
 * fluxhooks.c
 *	  Module magic and _PG_init, which sets up one module after the other.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "capture.h"
#include "catalog.h"
#include "copy.h"
#include "guc.h"
#include "launcher.h"
#include "queue.h"
#include "right.h"
#include "ring.h"
#include "shared.h"
#include "subscription.h"
#include "utility.h"
#include "wakeup.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Loaded by the postmaster, this sets up shared memory, the utility hook and
 * the launcher as well; loaded by a backend only what capture and the SQL
 * functions need.
 */
void
_PG_init(void)
{
	guc_init();
	catalog_init();
	ring_init();
	right_init();
	subscription_init();
	queue_init();
	wakeup_init();
	copy_init();

	if (process_shared_preload_libraries_in_progress)
	{
		shared_init();
		utility_init();
		launcher_init();
	}
}
