/*
 * robust-futex - mutexes whose owner ends without unlocking them: the kernel goes
 * through the thread's list of robust mutexes, which it must know again after a
 * resume. Priority-inheriting ones, too, whose word holds the owner's number.
 *
 * get_robust_list(2), pthread_mutexattr_setrobust(3)
 */
#include "check.h"

static pthread_mutex_t robust, inheriting, both, plain;
static bool locked, stop;
static void *list_before, *list_after;
static size_t length;
static int unlock_result;

static void make(pthread_mutex_t *mutex, bool is_robust, bool inherits)
{
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	if (is_robust)
		pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	if (inherits)
		pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	must(-!!pthread_mutex_init(mutex, &attributes));
}

static void *owner(void *unused)
{
	pthread_mutex_lock(&robust);
	pthread_mutex_lock(&inheriting);
	pthread_mutex_lock(&both);
	pthread_mutex_lock(&plain);
	syscall(SYS_get_robust_list, 0, &list_before, &length);
	__atomic_store_n(&locked, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		check_pause(MS);
	syscall(SYS_get_robust_list, 0, &list_after, &length);
	unlock_result = pthread_mutex_unlock(&inheriting) | pthread_mutex_unlock(&plain);
	/* Two are left locked. */
	return unused;
}

static int waited = -1;
static pthread_t waiter;

/* Blocked in the kernel when the checkpoint comes. */
static void *wait_for_both(void *unused)
{
	waited = pthread_mutex_lock(&both);
	if (waited == EOWNERDEAD)
		pthread_mutex_consistent(&both);
	pthread_mutex_unlock(&both);
	return unused;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	make(&robust, true, false);
	make(&inheriting, false, true);
	make(&both, true, true);
	make(&plain, false, false);
	pthread_t thread = check_thread(owner, NULL);
	while (!__atomic_load_n(&locked, __ATOMIC_ACQUIRE))
		check_pause(MS);
	waiter = check_thread(wait_for_both, NULL);

	check_ready();
	check_wait();

	check_eq_u64((uint64_t)pthread_mutex_trylock(&robust), EBUSY, "the robust mutex is locked");
	check_eq_u64((uint64_t)pthread_mutex_trylock(&inheriting), EBUSY, "the inheriting mutex is locked");
	check_eq_u64((uint64_t)pthread_mutex_unlock(&plain), EPERM, "another's mutex cannot be unlocked");
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	check(list_before && list_before == list_after, "the kernel knows the thread's list");
	check_eq_u64((uint64_t)unlock_result, 0, "the owner unlocks what it locked");
	check_eq_u64((uint64_t)pthread_mutex_lock(&robust), EOWNERDEAD, "the robust mutex says that its owner ended");
	check(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0, "it can be made consistent");
	pthread_join(waiter, NULL);
	check_eq_u64((uint64_t)waited, EOWNERDEAD, "a thread that waited for one is told, too");
	check(pthread_mutex_lock(&inheriting) == 0 && pthread_mutex_lock(&plain) == 0, "the others are free");
	return check_done();
}
