/*
 * maps.h - what /proc says of a mapping: proc_pid_maps(5), proc_pid_smaps(5).
 */
#ifndef MAPS_H
#define MAPS_H

#include "check.h"

struct mapping {
	uint64_t start, end, offset;
	char perms[5];
	char path[512];
};

/* Reads one line of maps; false for a line of another kind. */
static inline bool mapping_parse(const char *line, struct mapping *m)
{
	int at = 0;
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %*u %n", &m->start, &m->end, m->perms, &m->offset, &at) < 4 || !at)
		return false;
	size_t length = strcspn(line + at, "\n");
	if (length >= sizeof m->path)
		length = sizeof m->path - 1;
	memcpy(m->path, line + at, length);
	m->path[length] = 0;
	return true;
}

/* The mapping that holds the address. */
static inline bool mapping_at(const void *address, struct mapping *m)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[1024];
	bool found = false;
	if (!maps)
		check_bail("/proc/self/maps: %s", strerror(errno));
	while (!found && fgets(line, sizeof line, maps))
		found = mapping_parse(line, m) && m->start <= (uintptr_t)address && (uintptr_t)address < m->end;
	fclose(maps);
	return found;
}

/* The permissions at the address, such as "rw-p"; "none" where nothing is mapped. */
static inline const char *mapping_perms(const void *address)
{
	static struct mapping m;
	return mapping_at(address, &m) ? m.perms : "none";
}

/*
 * The VmFlags of the mapping that holds the address, reduced to those listed in
 * `only` (two letters each, separated by spaces), in the kernel's order.
 */
static inline void mapping_flags(const void *address, const char *only, char *flags, size_t size)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[1024];
	struct mapping m;
	bool here = false;
	size_t length = 0;

	*flags = 0;
	if (!smaps)
		check_bail("/proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof line, smaps)) {
		if (mapping_parse(line, &m)) {
			here = m.start <= (uintptr_t)address && (uintptr_t)address < m.end;
		} else if (here && !strncmp(line, "VmFlags:", 8)) {
			for (char *flag = strtok(line + 8, " \n"); flag; flag = strtok(NULL, " \n"))
				if (strstr(only, flag) && length + 4 < size)
					length += (size_t)sprintf(flags + length, "%s%s", length ? " " : "", flag);
			break;
		}
	}
	fclose(smaps);
}

static inline bool mapping_has_flag(const void *address, const char *flag)
{
	char flags[64];
	mapping_flags(address, flag, flags, sizeof flags);
	return *flags != 0;
}

#endif
