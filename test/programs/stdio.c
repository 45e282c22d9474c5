/*
 * stdio - what the C library has buffered and not written yet must come out once: on
 * standard output, in a file and in a pipe; and input read ahead is not read again.
 * The harness compares standard output with that of an uninterrupted run.
 *
 * setvbuf(3), fflush(3)
 */
#include "check.h"

#define LINES 200

int main(int argc, char **argv)
{
	static char buffer[64 * 1024];
	int ends[2];

	/* Before the first output. Whatever check_ready() prints is written by its fflush. */
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	check_init(argc, argv);
	const char *path = check_scratch("out"), *input_path = check_scratch("in");
	FILE *out = fopen(path, "w+"), *make = fopen(input_path, "w");
	if (!out || !make)
		check_bail("fopen: %s", strerror(errno));
	for (int i = 0; i < LINES; i++)
		fprintf(make, "input %d\n", i);
	fclose(make);
	FILE *in = fopen(input_path, "r");
	must(pipe(ends));
	FILE *to = fdopen(ends[1], "w"), *from = fdopen(ends[0], "r");

	char line[100];
	for (int i = 0; i < LINES / 2; i++)
		if (!fgets(line, sizeof line, in))
			check_bail("fgets");
	fprintf(out, "flushed\n");
	fflush(out);
	fprintf(out, "buffered\n");
	fprintf(to, "flushed\n");
	fflush(to);
	fprintf(to, "buffered\n");

	check_ready();
	for (int i = 0; i < LINES; i++)
		printf("# buffered line %d\n", i);
	check_wait();

	fprintf(out, "after\n");
	rewind(out);
	char text[200] = "";
	size_t length = fread(text, 1, sizeof text - 1, out);
	text[length] = 0;
	check_eq_str(text, "flushed\nbuffered\nafter\n", "a file has every line once");

	int wrong = 0;
	for (int i = LINES / 2; i < LINES; i++) {
		char wanted[100];
		snprintf(wanted, sizeof wanted, "input %d\n", i);
		wrong += !fgets(line, sizeof line, in) || strcmp(line, wanted) != 0;
	}
	check_eq_u64((uint64_t)wrong, 0, "input goes on where it was");
	check(!fgets(line, sizeof line, in) && feof(in), "and ends");

	fprintf(to, "after\n");
	fclose(to);
	length = fread(text, 1, sizeof text - 1, from);
	text[length] = 0;
	check_eq_str(text, "flushed\nbuffered\nafter\n", "a pipe has every line once");
	unlink(path);
	unlink(input_path);
	return check_done();
}
