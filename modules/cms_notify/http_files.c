/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads files that hold secrets. In the main process, to check them, and in the HTTP
 * processes. */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../core/dprint.h"

#include "base_header.h"
#include "http_files.h"

/* Of a file whose first line counts. */
#define CN_LINE_MAX 8192

static int refuse(struct cn_files_fault *fault, const char *format, ...)
		__attribute__((format(printf, 2, 3)));

static int refuse(struct cn_files_fault *fault, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(fault->text, sizeof(fault->text), format, args);
	va_end(args);
	return -1;
}

/* -------- reading -------- */

/* @return how much was read; -1: errno says why */
static ssize_t read_all(int fd, char *to, size_t size)
{
	size_t have = 0;
	ssize_t n;

	do {
		n = read(fd, to + have, size - have);
		if(n > 0)
			have += n;
	} while(n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -1 : (ssize_t)have;
}

/* A small text file, without the blanks and line breaks at its end.
 * @param to of CN_LINE_MAX bytes */
static int read_text(const char *parameter, const char *path, char *to,
		struct cn_files_fault *fault)
{
	/* nobody waits for the other end of a pipe */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len = fd < 0 ? -1 : read_all(fd, to, CN_LINE_MAX);
	int error = errno;

	if(fd >= 0)
		close(fd);
	if(len < 0)
		return refuse(fault, "%s: cannot read %s: %s", parameter, path,
				strerror(error));
	if(len == CN_LINE_MAX)
		return refuse(fault, "%s: %s is too long, more than %d bytes",
				parameter, path, CN_LINE_MAX - 1);
	while(len > 0 && strchr(" \t\r\n", to[len - 1]) && to[len - 1] != '\0')
		len--;
	to[len] = '\0';
	if(len == 0)
		return refuse(fault, "%s: %s is empty", parameter, path);
	if(strlen(to) < (size_t)len)
		return refuse(fault, "%s: %s is no text", parameter, path);
	return 0;
}

static int read_key(
		struct cn_sign_key *key, const char *path, struct cn_files_fault *fault)
{
	char text[CN_LINE_MAX], what[128];
	int err = read_text("sign_key_file", path, text, fault);

	if(err == 0 && cn_sign_read_key(key, text, what, sizeof(what)) < 0)
		err = refuse(fault, "sign_key_file: %s %s", path, what);
	explicit_bzero(text, sizeof(text));
	return err;
}

static char *new_header(const char *name, size_t len, const char *value)
{
	size_t size = len + strlen(": ") + strlen(value) + 1;
	char *header = malloc(size);

	if(header)
		snprintf(header, size, "%.*s: %s", (int)len, name, value);
	return header;
}

/* The file's first line. */
static int read_header(
		char **header, const char *parameter, struct cn_files_fault *fault)
{
	size_t name = cn_header_name(parameter);
	const char *path = cn_header_value(parameter, name);
	char text[CN_LINE_MAX];
	int err = read_text("http_header_file", path, text, fault);

	if(err == 0) {
		text[strcspn(text, "\r\n")] = '\0';
		*header = NULL;
		if(text[strspn(text, " \t")] == '\0')
			err = refuse(fault,
					"http_header_file: the first line of %s is empty", path);
		else if(cn_header_breaks(text, strlen(text)))
			err = refuse(fault,
					"http_header_file: the first line of %s has a control "
					"character",
					path);
		else if((*header = new_header(parameter, name, text)) == NULL)
			err = refuse(fault, "out of memory");
	}
	explicit_bzero(text, sizeof(text));
	return err;
}

int cn_files_read(struct cn_files *files, struct cn_files_fault *fault)
{
	int i, err = 0;

	memset(files, 0, sizeof(*files));
	fault->text[0] = '\0';
	for(i = 0; i < cn_conf.sign_key_files && err == 0; i++)
		err = read_key(&files->keys[i], cn_conf.sign_key_file[i], fault);
	files->key_count = i;
	for(i = 0; i < cn_conf.http_header_files && err == 0; i++) {
		err = read_header(
				&files->headers[i], cn_conf.http_header_file[i], fault);
		files->header_count += err == 0;
	}
	if(err)
		cn_files_forget(files);
	return err;
}

void cn_files_forget(struct cn_files *files)
{
	int i;

	for(i = 0; i < files->header_count; i++) {
		explicit_bzero(files->headers[i], strlen(files->headers[i]));
		free(files->headers[i]);
	}
	explicit_bzero(files, sizeof(*files));
}

/* -------- at the start -------- */

static void warn_of_everybody(const char *path)
{
	struct stat st;

	if(stat(path, &st) == 0 && st.st_mode & S_IROTH)
		LM_WARN("%s can be read by everybody on this machine: chmod 640\n",
				path);
}

int cn_files_check(void)
{
	struct cn_files_fault fault;
	struct cn_files files;
	int i;

	if(cn_files_read(&files, &fault) < 0) {
		LM_ERR("%s\n", fault.text);
		return -1;
	}
	cn_files_forget(&files);
	for(i = 0; i < cn_conf.sign_key_files; i++)
		warn_of_everybody(cn_conf.sign_key_file[i]);
	return 0;
}
