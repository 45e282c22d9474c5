/*
 * dlopen - a library loaded by dlopen: its state, pointers to its functions, and the
 * loader's own idea of it: dlsym, dladdr, loading another one and unloading both.
 * Needs build/plugin.so and build/dynamic-tls.so beside the program.
 *
 * dlopen(3), dladdr(3)
 */
#include "check.h"
#include <dlfcn.h>

typedef uint64_t (*operation)(uint64_t);

static uint64_t twice(uint64_t n)
{
	return 2 * n;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const char *path = check_library("plugin.so"), *other = check_library("dynamic-tls.so");
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		check_skip_all("no library: %s", dlerror());
	operation *operations = dlsym(library, "plugin_operations");
	uint64_t (*state)(void) = (uint64_t (*)(void))dlsym(library, "plugin_state");
	if (!operations || !state || state() != 1000)
		check_bail("plugin.so is another library");
	operation add = operations[0];
	add(23);

	check_ready();
	check_wait();

	check_eq_u64(state(), 1023, "the library keeps its state");
	check_eq_u64(add(1), 1024, "a pointer to a function of it works");
	check_eq_u64(operations[1](2), 2048, "so does its own table of them");
	uint64_t (*call)(operation, uint64_t) = (uint64_t (*)(operation, uint64_t))dlsym(library, "plugin_call");
	check(call != NULL, "dlsym finds a symbol not looked for before");
	check_eq_u64(call ? call(twice, 100) : 0, 2248, "it calls back");
	check(dlsym(library, "plugin_state") == (void *)state, "dlsym finds the same address as before");
	check(dlsym(library, "no_such_symbol") == NULL && dlerror() != NULL, "and not what is not there");
	Dl_info info;
	check(dladdr((void *)state, &info) != 0 && !strcmp(info.dli_sname, "plugin_state") && !strcmp(info.dli_fname, path), "dladdr names it");
	check(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == library, "it is known as loaded");
	void *more = dlopen(other, RTLD_NOW);
	uint64_t *(*here)(void) = more ? (uint64_t *(*)(void))dlsym(more, "dynamic_tls_set_here") : NULL;
	check(here && here()[0] == 42, "another library can be loaded");
	check(more && dlclose(more) == 0, "and unloaded");
	check(dlclose(library) == 0 && dlclose(library) == 0 && !dlopen(path, RTLD_NOW | RTLD_NOLOAD), "the first one can be unloaded");
	return check_done();
}
