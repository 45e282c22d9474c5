/*
 * clocks - the monotonic clocks go on from where they were: they never step
 * back, and the time between a checkpoint and its resume is not seen. The
 * wall clock knows better. CPU-time clocks are not looked at: they begin anew
 * with the new process, and nothing can set them.
 *
 * clock_gettime(2), time_namespaces(7)
 */
#include "check.h"
#include <sys/stat.h>

/* A loaded machine and the checkpoint's pause must fit in, a gap of 3 s or more must not. */
#define SLACK (2500 * MS)

static const struct {
	clockid_t id;
	const char *name;
} clocks[] = {
	{ CLOCK_MONOTONIC, "CLOCK_MONOTONIC" },
	{ CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW" },
	{ CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE" },
	{ CLOCK_BOOTTIME, "CLOCK_BOOTTIME" },
};
#define CLOCKS (sizeof clocks / sizeof *clocks)

static uint64_t last[CLOCKS], largest_step[CLOCKS];
static unsigned steps_back[CLOCKS];
static uint64_t apart;      /* by how much the clocks' distances changed at most */
static int64_t distance;    /* CLOCK_BOOTTIME before CLOCK_MONOTONIC */

static void work(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < CLOCKS; i++) {
		uint64_t now = check_clock(clocks[i].id);
		if (now < last[i])
			steps_back[i]++;
		else if (last[i] && now - last[i] > largest_step[i])
			largest_step[i] = now - last[i];
		last[i] = now;
	}
	/* Between two readings of one clock, so that a pause in between does not count. */
	uint64_t before = check_now();
	uint64_t boot = check_clock(CLOCK_BOOTTIME);
	uint64_t after = check_now();
	if (after - before < 5 * MS) {
		int64_t d = (int64_t)(boot - before);
		if (!distance)
			distance = d;
		uint64_t change = (uint64_t)(d > distance ? d - distance : distance - d);
		if (change > apart)
			apart = change;
	}
	check_pause(MS / 4);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	uint64_t wall = check_clock(CLOCK_REALTIME);
	work(NULL);

	check_ready();
	check_wait_doing(work, NULL);

	for (unsigned i = 0; i < CLOCKS; i++) {
		check_eq_u64(steps_back[i], 0, "%s never steps back", clocks[i].name);
		check_between((int64_t)largest_step[i], 0, SLACK, "%s does not jump", clocks[i].name);
	}
	check_between((int64_t)apart, 0, SLACK, "CLOCK_BOOTTIME and CLOCK_MONOTONIC keep their distance");

	struct stat go;
	must(stat(check_go_file, &go));
	uint64_t created = (uint64_t)go.st_ctim.tv_sec * SECOND;
	check(check_clock(CLOCK_REALTIME) >= wall, "CLOCK_REALTIME does not step back");
	check(check_clock(CLOCK_REALTIME) + SECOND >= created, "CLOCK_REALTIME is the real time");
	return check_done();
}
