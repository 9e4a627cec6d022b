/* The limit of libfuse: one thread, everything in memory, nothing done twice.

       c_null MOUNTPOINT        stays in front until it is unmounted

   A file is one buffer, a directory a list; names are found in one hash table.  There is
   no policy: no locks, no times, no permissions but what the kernel itself checks.

   What a request costs the kernel is what it costs under fusefs: each open is direct_io with
   parallel direct writes, names may be kept, attributes may not, flush is not asked for. */

#define FUSE_USE_VERSION 314
#define _GNU_SOURCE

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

enum { BUCKET_COUNT = 1 << 18, BACKGROUND_MAX = 16, PAGE = 4096 };
static const double NAME_TIMEOUT_S = 3600;

struct node {
	struct node *next; /* in its bucket */
	struct node *parent;
	char *name;
	mode_t mode;
	unsigned nlink;
	uint64_t lookups; /* references that the kernel holds */
	/* a file */
	char *data;
	size_t size, capacity; /* bytes */
	/* a directory: a removed child leaves a hole, so that offsets stay */
	struct node **children;
	size_t child_count, child_capacity, hole_count, index;
};

static struct node root = {.mode = S_IFDIR | 0755, .nlink = 2};
static struct node *buckets[BUCKET_COUNT];

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &root : (struct node *)ino;
}

static fuse_ino_t ino_of(struct node *node)
{
	return node == &root ? FUSE_ROOT_ID : (fuse_ino_t)node;
}

/* -- names ---------------------------------------------------------------------------- */

static struct node **place(struct node *parent, const char *name)
{
	size_t hash = (size_t)parent >> 4;
	for (const char *c = name; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
	struct node **at = &buckets[(hash ^ hash >> 32) % BUCKET_COUNT];
	while (*at && ((*at)->parent != parent || strcmp((*at)->name, name)))
		at = &(*at)->next;
	return at;
}

static struct node *make(struct node *parent, const char *name, mode_t mode)
{
	struct node **at = place(parent, name), *node;
	if (*at) {
		errno = EEXIST;
		return NULL;
	}
	if (parent->child_count == parent->child_capacity) {
		size_t capacity = parent->child_capacity ? 2 * parent->child_capacity : 16;
		struct node **children = realloc(parent->children, capacity * sizeof(*children));
		if (!children)
			return NULL;
		parent->children = children;
		parent->child_capacity = capacity;
	}
	node = calloc(1, sizeof(*node));
	if (!node || !(node->name = strdup(name))) {
		free(node);
		return NULL;
	}
	node->parent = parent;
	node->mode = mode;
	node->nlink = S_ISDIR(mode) ? 2 : 1;
	node->index = parent->child_count;
	parent->children[parent->child_count++] = node;
	return *at = node;
}

static void remove_name(struct node **at)
{
	struct node *node = *at, *parent = node->parent;
	*at = node->next;
	node->nlink = 0;
	parent->children[node->index] = NULL;
	if (++parent->hole_count == parent->child_count)
		parent->child_count = parent->hole_count = 0;
}

/* -- replies -------------------------------------------------------------------------- */

static struct stat attributes(struct node *node)
{
	return (struct stat){
		.st_ino = ino_of(node),
		.st_mode = node->mode,
		.st_nlink = node->nlink,
		.st_uid = getuid(),
		.st_gid = getgid(),
		.st_size = (off_t)node->size,
		.st_blocks = (blkcnt_t)(node->capacity / 512),
		.st_blksize = PAGE,
	};
}

/* The reply that gives the kernel one more reference. */
static struct fuse_entry_param entry(struct node *node)
{
	node->lookups++;
	return (struct fuse_entry_param){
		.ino = ino_of(node), .attr = attributes(node), .entry_timeout = NAME_TIMEOUT_S};
}

/* libfuse before 3.15 cannot ask for parallel direct writes, but a reply is only bytes. */
static const struct fuse_open_out OPENED = {
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};

static void reply_created(fuse_req_t req, struct node *node)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {
		.entry = {
			.nodeid = ino_of(node),
			.entry_valid = (uint64_t)NAME_TIMEOUT_S,
			.attr = {
				.ino = ino_of(node),
				.mode = node->mode,
				.nlink = node->nlink,
				.uid = getuid(),
				.gid = getgid(),
				.blksize = PAGE,
			},
		},
		.open = OPENED,
	};
	node->lookups++;
	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

/* -- operations on names -------------------------------------------------------------- */

static void op_init(void *data, struct fuse_conn_info *conn)
{
	conn->max_background = conn->congestion_threshold = BACKGROUND_MAX;
	(void)data;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node *node = *place(node_of(parent), name);
	if (!node) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	struct fuse_entry_param found = entry(node);
	fuse_reply_entry(req, &found);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct node *node = node_of(ino);
	node->lookups -= count;
	if (node->nlink == 0 && node->lookups == 0) {
		if (node->data)
			munmap(node->data, node->capacity);
		free(node->children);
		free(node->name);
		free(node);
	}
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat attr = attributes(node_of(ino));
	fuse_reply_attr(req, &attr, 0);
	(void)fi;
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct node *node = make(node_of(parent), name, S_IFREG | (mode & 07777));
	if (node)
		reply_created(req, node);
	else
		fuse_reply_err(req, errno);
	(void)fi;
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct node *node = make(node_of(parent), name, S_IFDIR | (mode & 07777));
	if (!node) {
		fuse_reply_err(req, errno);
		return;
	}
	struct fuse_entry_param made = entry(node);
	fuse_reply_entry(req, &made);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node **at = place(node_of(parent), name);
	int error = *at ? 0 : ENOENT;
	if (*at)
		remove_name(at);
	fuse_reply_err(req, error);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t pos,
		       struct fuse_file_info *fi)
{
	struct node *directory = node_of(ino);
	char buffer[size];
	size_t used = 0;
	for (size_t i = (size_t)pos; i < directory->child_count; i++) {
		struct node *child = directory->children[i];
		if (!child)
			continue;
		struct stat attr = {.st_ino = ino_of(child), .st_mode = child->mode};
		size_t length = fuse_add_direntry(
			req, buffer + used, size - used, child->name, &attr, (off_t)i + 1);
		if (length > size - used)
			break;
		used += length;
	}
	fuse_reply_buf(req, buffer, used);
	(void)fi;
}

/* -- operations on data --------------------------------------------------------------- */

/* Have room for size bytes; 0 or an errno.  What was never written takes no memory. */
static int reserve(struct node *node, size_t size)
{
	size_t capacity = node->capacity ? node->capacity : PAGE;
	void *data;
	if (size <= node->capacity)
		return 0;
	while (capacity < size)
		capacity *= 2;
	if (node->data)
		data = mremap(node->data, node->capacity, capacity, MREMAP_MAYMOVE);
	else
		data = mmap(NULL, capacity, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED)
		return ENOSPC;
	node->data = data;
	node->capacity = capacity;
	return 0;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct node *node = node_of(ino);
	if (to_set & FUSE_SET_ATTR_SIZE) {
		size_t size = (size_t)attr->st_size;
		int error = reserve(node, size);
		if (error) {
			fuse_reply_err(req, error);
			return;
		}
		if (size < node->size)
			memset(node->data + size, 0, node->size - size);
		node->size = size;
	}
	op_getattr(req, ino, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_buf(req, (const char *)&OPENED, sizeof(OPENED));
	(void)ino;
	(void)fi;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t pos,
		    struct fuse_file_info *fi)
{
	struct node *node = node_of(ino);
	size_t start = (size_t)pos < node->size ? (size_t)pos : node->size;
	size_t left = node->size - start;
	fuse_reply_buf(req, left ? node->data + start : NULL, size < left ? size : left);
	(void)fi;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t pos,
		     struct fuse_file_info *fi)
{
	struct node *node = node_of(ino);
	size_t end = (size_t)pos + size;
	int error = reserve(node, end);
	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	memcpy(node->data + pos, data, size);
	if (end > node->size)
		node->size = end;
	fuse_reply_write(req, size);
	(void)fi;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
	(void)ino;
	(void)datasync;
	(void)fi;
}

static const struct fuse_lowlevel_ops OPERATIONS = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.create = op_create,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.readdir = op_readdir,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fsyncdir = op_fsync,
};

int main(int argc, char **argv)
{
	char *options[] = {argv[0], "-o", "default_permissions,fsname=c-null", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, options);
	struct fuse_session *session;
	int status = 1;
	if (argc != 2) {
		fprintf(stderr, "usage: c_null MOUNTPOINT\n");
		return 2;
	}
	session = fuse_session_new(&args, &OPERATIONS, sizeof(OPERATIONS), NULL);
	if (!session)
		return 1;
	if (fuse_set_signal_handlers(session) == 0 && fuse_session_mount(session, argv[1]) == 0) {
		status = fuse_session_loop(session) != 0;
		fuse_session_unmount(session);
	}
	fuse_remove_signal_handlers(session);
	fuse_session_destroy(session);
	return status;
}
