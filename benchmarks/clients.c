/* The programs that fio is not: what is done to a mount before and while it is measured.

       clients DIR COMMAND ARGUMENTS       every other path is inside DIR

   Not measured:
       fill FILE SIZE                      a file of SIZE bytes, written with O_DIRECT,
                                           or without where that is refused
       warm FILE                           read it all through the page cache
       empty FILE                          a new file
       unwritten FILE SIZE                 a new file, preallocated, or sparse where that fails
       scatter FILE SIZE STRIDE            4 KiB every STRIDE bytes of an otherwise empty file
       files DIRECTORY COUNT               that many empty files
       settle FILE...                      fsync each
   Measured; they print "OPERATIONS SECONDS":
       open PROCESSES SECONDS              open and close, each process its own file
       stat PROCESSES SECONDS              one request each: the kernel may not answer by itself
       create PROCESSES SECONDS COUNT      each process in its own directory, at most COUNT
       unlink PROCESSES SECONDS COUNT
       append PROCESSES SECONDS LENGTH     each process to its own file, which is emptied first
       readdir PROCESSES SECONDS DIRECTORY COUNT       whole listings, each of COUNT entries
       relist PROCESSES SECONDS DIRECTORY COUNT        the same, each after a name came and went
       dio29 PROCESSES SECONDS BLOCK ITERATIONS

   dio29 has the shape of LTP's test of that name.  Each process owns one block of one file;
   it writes the block and reads it back, at most ITERATIONS times, and compares.  That is
   done three times, on a new file each: direct reads and buffered writes, direct writes and
   buffered reads, both direct.

   Processes are made first and begin together.  Time ends when the last one has finished.
   Exit status: 0, or 1 with one line on stderr. */

#define _GNU_SOURCE

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 1 << 20, SCATTER_PROCESSES = 16, DIO29_OFFSET = 1024000 };

static char **words;            /* ARGUMENTS */
static double limit_s = 1e9;    /* how long each process goes on */

static double now_s(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static long long number(const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 10);
	if (*end || end == text)
		errx(1, "not a number: %s", text);
	return value;
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "open %s", path);
	return fd;
}

/* CHUNK bytes that are not zero, aligned as O_DIRECT wants them. */
static char *aligned_buffer(void)
{
	char *buffer = aligned_alloc(PAGE, CHUNK);
	if (!buffer)
		err(1, "memory");
	memset(buffer, 0x5a, CHUNK);
	return buffer;
}

static void write_all(int fd, const char *data, size_t length, off_t pos)
{
	ssize_t count = pwrite(fd, data, length, pos);
	if (count < 0)
		err(1, "write");
	if ((size_t)count != length)
		errx(1, "write: %zd of %zu bytes", count, length);
}

/* -- processes that begin together ------------------------------------------------------ */

struct result {
	double end_s;
	long operations;
};

struct crew {
	void (*prepare)(long self); /* not measured; may be NULL */
	long (*run)(long self);     /* operations done */
};

static double begin_s;

static bool time_left(void)
{
	return now_s() - begin_s < limit_s;
}

static void child(struct crew crew, long self, int ready_fd, int go_fd, struct result *result)
{
	char byte = 0;
	if (crew.prepare)
		crew.prepare(self);
	if (write(ready_fd, &byte, 1) != 1 || read(go_fd, &byte, 1) != 0)
		err(1, "start");
	begin_s = now_s();
	result->operations = crew.run(self);
	result->end_s = now_s();
	exit(0);
}

/* Add what the processes did, and the time it took, to a total. */
static void run_crew(struct crew crew, long count, struct result *total)
{
	int ready[2], go[2];
	bool failed = false;
	struct result *results = mmap(NULL, (size_t)count * sizeof(*results),
				      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED || pipe(ready) || pipe(go))
		err(1, "processes");
	for (long i = 0; i < count; i++) {
		pid_t pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid == 0) {
			close(ready[0]);
			close(go[1]);
			child(crew, i, ready[1], go[0], &results[i]);
		}
	}
	close(ready[1]);
	close(go[0]);
	for (long i = 0; i < count; i++) {
		char byte;
		if (read(ready[0], &byte, 1) != 1)
			break; /* all others have failed, and have said why */
	}
	double start_s = now_s(), last_s = start_s;
	close(go[1]);
	close(ready[0]);
	for (int status; wait(&status) > 0;)
		failed |= status != 0;
	if (failed)
		exit(1);
	for (long i = 0; i < count; i++) {
		total->operations += results[i].operations;
		last_s = results[i].end_s > last_s ? results[i].end_s : last_s;
	}
	total->end_s += last_s - start_s;
	munmap(results, (size_t)count * sizeof(*results));
}

static void print_result(struct result total)
{
	printf("%ld %.9f\n", total.operations, total.end_s);
	fflush(stdout); /* processes made later must not print it again */
}

static void measure(struct crew crew)
{
	struct result total = {0};
	limit_s = atof(words[1]);
	run_crew(crew, number(words[0]), &total);
	print_result(total);
}

/* -- files ------------------------------------------------------------------------------ */

static void fill(void)
{
	int fd = open_or_die(words[0], O_WRONLY | O_CREAT | O_DIRECT);
	char *buffer = aligned_buffer();
	long long size = number(words[1]);
	if (pwrite(fd, buffer, PAGE, 0) < 0 && errno == EINVAL)
		fd = open_or_die(words[0], O_WRONLY);
	for (off_t pos = 0; pos < size; pos += CHUNK)
		write_all(fd, buffer, size - pos < CHUNK ? (size_t)(size - pos) : CHUNK, pos);
	if (fsync(fd))
		err(1, "fsync %s", words[0]);
}

static void warm(void)
{
	int fd = open_or_die(words[0], O_RDONLY);
	char *buffer = aligned_buffer();
	ssize_t count;
	while ((count = read(fd, buffer, CHUNK)) > 0)
		;
	if (count < 0)
		err(1, "read %s", words[0]);
}

static void empty(void)
{
	unlink(words[0]);
	int fd = open_or_die(words[0], O_WRONLY | O_CREAT | O_EXCL);
	if (fsync(fd))
		err(1, "fsync %s", words[0]);
}

static void unwritten(void)
{
	long long size = number(words[1]);
	unlink(words[0]);
	int fd = open_or_die(words[0], O_WRONLY | O_CREAT | O_EXCL);
	if (fallocate(fd, 0, 0, size) && (errno != EOPNOTSUPP || ftruncate(fd, size)))
		err(1, "preallocate %s", words[0]);
	if (fsync(fd))
		err(1, "fsync %s", words[0]);
}

static long scatter_some(long self)
{
	int fd = open_or_die(words[0], O_WRONLY | O_DIRECT);
	long long size = number(words[1]), stride = number(words[2]);
	char *buffer = aligned_buffer();
	for (off_t pos = self * stride; pos < size; pos += SCATTER_PROCESSES * stride)
		write_all(fd, buffer, PAGE, pos);
	return 0;
}

static void scatter(void)
{
	struct result ignored = {0};
	int fd = open_or_die(words[0], O_RDWR | O_CREAT | O_TRUNC);
	if (ftruncate(fd, number(words[1])))
		err(1, "truncate %s", words[0]);
	run_crew((struct crew){.run = scatter_some}, SCATTER_PROCESSES, &ignored);
	if (fsync(fd))
		err(1, "fsync %s", words[0]);
}

static void sync_path(const char *path)
{
	int fd = open_or_die(path, O_RDONLY);
	if (fsync(fd))
		err(1, "fsync %s", path);
	close(fd);
}

static void settle(void)
{
	for (char **path = words; *path; path++)
		sync_path(*path);
}

/* -- names ------------------------------------------------------------------------------ */

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		err(1, "mkdir %s", path);
}

static void make_files(const char *directory, long first, long count)
{
	char path[256];
	for (long i = first; i < first + count; i++) {
		snprintf(path, sizeof(path), "%s/f%ld", directory, i);
		close(open_or_die(path, O_WRONLY | O_CREAT | O_EXCL));
	}
}

static void files(void)
{
	make_directory(words[0]);
	make_files(words[0], 0, (long)number(words[1]));
	sync_path(words[0]);
}

static char own[64]; /* the directory of this process */

static void own_directory(long self)
{
	make_directory("names");
	snprintf(own, sizeof(own), "names/%ld", self);
	make_directory(own);
}

static void own_file(long self)
{
	own_directory(self);
	strcat(own, "/file");
	close(open_or_die(own, O_WRONLY | O_CREAT));
}

static long open_and_close(long self)
{
	long count = 0;
	for (; time_left(); count++)
		close(open_or_die(own, O_RDONLY));
	(void)self;
	return count;
}

static long stat_own(long self)
{
	struct statx attributes;
	long count = 0;
	for (; time_left(); count++)
		if (statx(AT_FDCWD, own, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &attributes))
			err(1, "stat %s", own);
	(void)self;
	return count;
}

static long create_some(long self)
{
	long count = 0, most = (long)number(words[2]);
	for (; count < most && time_left(); count++)
		make_files(own, count, 1);
	(void)self;
	return count;
}

static void make_own_files(long self)
{
	own_directory(self);
	make_files(own, 0, (long)number(words[2]));
}

static void remove_file(long i)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/f%ld", own, i);
	if (unlink(path))
		err(1, "unlink %s", path);
}

static long unlink_some(long self)
{
	long count = 0, most = (long)number(words[2]);
	for (; count < most && time_left(); count++)
		remove_file(count);
	(void)self;
	return count;
}

static long remove_rest(long self)
{
	char path[256];
	for (long i = 0; i < number(words[2]); i++) {
		snprintf(path, sizeof(path), "%s/f%ld", own, i);
		if (unlink(path) && errno != ENOENT)
			err(1, "unlink %s", path);
	}
	(void)self;
	return 0;
}

static void list_once(void)
{
	long entries = 0;
	DIR *directory = opendir(words[2]);
	if (!directory)
		err(1, "opendir %s", words[2]);
	for (struct dirent *entry; (entry = readdir(directory));)
		entries += entry->d_name[0] != '.';
	closedir(directory);
	if (entries != number(words[3]))
		errx(1, "%s: %ld entries, not %s", words[2], entries, words[3]);
}

static long list(long self)
{
	long count = 0;
	for (; time_left(); count++)
		list_once();
	(void)self;
	return count;
}

static long relist(long self)
{
	char path[256];
	long count = 0;
	snprintf(path, sizeof(path), "%s/comes-and-goes", words[2]);
	for (; time_left(); count++) {
		close(open_or_die(path, O_WRONLY | O_CREAT | O_EXCL));
		if (unlink(path))
			err(1, "unlink %s", path);
		list_once();
	}
	(void)self;
	return count;
}

static long append_some(long self)
{
	long count = 0;
	size_t length = (size_t)number(words[2]);
	char *buffer = aligned_buffer();
	int fd = open_or_die(own, O_WRONLY | O_TRUNC | O_APPEND);
	for (; time_left(); count++)
		if (write(fd, buffer, length) != (ssize_t)length)
			err(1, "append to %s", own);
	(void)self;
	return count;
}

/* -- LTP's dio29 -------------------------------------------------------------------------- */

static int read_flags, write_flags;

static long write_and_read_back(long self)
{
	long done = 0, iterations = (long)number(words[3]);
	size_t block = (size_t)number(words[2]);
	off_t pos = DIO29_OFFSET + self * (off_t)block;
	int reading = open_or_die("dio29", O_RDONLY | read_flags);
	int writing = open_or_die("dio29", O_WRONLY | write_flags);
	char *wrote = aligned_alloc(PAGE, block), *got = aligned_alloc(PAGE, block);
	if (!wrote || !got)
		err(1, "memory");
	for (; done < 2 * iterations && time_left(); done += 2) {
		memset(wrote, (int)(self + done) | 1, block);
		write_all(writing, wrote, block, pos);
		if (pread(reading, got, block, pos) != (ssize_t)block)
			err(1, "dio29: read at %lld", (long long)pos);
		if (memcmp(wrote, got, block))
			errx(1, "dio29: read something else than was written at %lld",
			     (long long)pos);
	}
	return done;
}

static void dio29(void)
{
	static const int flags[][2] = {{O_DIRECT, 0}, {0, O_DIRECT}, {O_DIRECT, O_DIRECT}};
	const struct crew crew = {.run = write_and_read_back};
	struct result total = {0};
	limit_s = atof(words[1]) / 3;
	for (int i = 0; i < 3; i++) {
		unlink("dio29");
		close(open_or_die("dio29", O_WRONLY | O_CREAT | O_EXCL));
		read_flags = flags[i][0];
		write_flags = flags[i][1];
		run_crew(crew, number(words[0]), &total);
	}
	print_result(total);
}

/* ------------------------------------------------------------------------------------------ */

static void measure_open(void)
{
	measure((struct crew){own_file, open_and_close});
}

static void measure_stat(void)
{
	measure((struct crew){own_file, stat_own});
}

/* Remove what is left; nobody is measured any more. */
static void clean(void)
{
	struct result ignored = {0};
	run_crew((struct crew){own_directory, remove_rest}, number(words[0]), &ignored);
}

static void measure_create(void)
{
	measure((struct crew){own_directory, create_some});
	clean();
}

static void measure_unlink(void)
{
	measure((struct crew){make_own_files, unlink_some});
	clean();
}

static void measure_readdir(void)
{
	measure((struct crew){NULL, list});
}

static void measure_relist(void)
{
	measure((struct crew){NULL, relist});
}

static void measure_append(void)
{
	measure((struct crew){own_file, append_some});
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int word_count_min;
		void (*run)(void);
	} commands[] = {
		{"fill", 2, fill},           {"warm", 1, warm},
		{"empty", 1, empty},         {"unwritten", 2, unwritten},
		{"scatter", 3, scatter},
		{"files", 2, files},         {"settle", 1, settle},
		{"open", 2, measure_open},   {"stat", 2, measure_stat},
		{"create", 3, measure_create}, {"unlink", 3, measure_unlink},
		{"append", 3, measure_append}, {"readdir", 4, measure_readdir},
		{"relist", 4, measure_relist}, {"dio29", 4, dio29},
	};
	if (argc < 4)
		errx(1, "usage: clients DIR COMMAND ARGUMENTS");
	if (chdir(argv[1]))
		err(1, "%s", argv[1]);
	words = argv + 3;
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[2], commands[i].name) && argc - 3 >= commands[i].word_count_min) {
			commands[i].run();
			return 0;
		}
	errx(1, "no such command: %s", argv[2]);
}
