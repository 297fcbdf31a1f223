/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads the password of password_file, and again when the file changes. In each process
 * by itself: the main one, SIP workers, those that run the verdict route. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/timer.h"

#include "base_secret.h"

#define CN_SECRET_MAX \
	128 /* auth has room for so much beside the user and realm */

static struct
{
	const char *path;
	char line[CN_SECRET_MAX];
	str text;
	struct stat seen;
	ticks_t looked;
} secret_;

/* @return what is wrong with it; NULL: nothing */
static const char *take_line(char *line, size_t len)
{
	size_t end;

	line[len] = '\0';
	end = strcspn(line, "\r\n");
	while(end > 0 && (line[end - 1] == ' ' || line[end - 1] == '\t'))
		end--;
	if(end == 0)
		return "its first line is empty";
	if(end > CN_SECRET_MAX - 1)
		return "its first line is too long";
	memcpy(secret_.line, line, end);
	secret_.text.s = secret_.line;
	secret_.text.len = (int)end;
	return NULL;
}

/* Nobody waits for the other end of a pipe. */
static const char *read_line(void)
{
	int fd = open(secret_.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char line[2 * CN_SECRET_MAX];
	const char *fault;
	ssize_t len;

	if(fd < 0 || fstat(fd, &secret_.seen) < 0
			|| (len = read(fd, line, sizeof(line) - 1)) < 0)
		fault = strerror(errno);
	else
		fault = take_line(line, (size_t)len);
	if(fd >= 0)
		close(fd);
	explicit_bzero(line, sizeof(line));
	return fault;
}

/* By the time of a change of the inode, which nobody sets: a file that is put in place
 * of another may be older. */
static bool has_changed(void)
{
	struct stat st;

	return stat(secret_.path, &st) == 0
		   && (st.st_ino != secret_.seen.st_ino
				   || st.st_dev != secret_.seen.st_dev
				   || st.st_ctim.tv_sec != secret_.seen.st_ctim.tv_sec
				   || st.st_ctim.tv_nsec != secret_.seen.st_ctim.tv_nsec);
}

int cn_secret_init(const char *path)
{
	const char *fault;

	secret_.path = path;
	if(path == NULL)
		return 0;
	fault = path[0] == '/' ? read_line() : "no path that begins with /";
	if(fault) {
		/* whoever has written the password there does not find it in the log */
		LM_ERR("password_file: %s: %s\n", path[0] == '/' ? path : "it is",
				fault);
		return -1;
	}
	if(secret_.seen.st_mode & S_IROTH)
		LM_WARN("%s can be read by everybody on this machine: chmod 640\n",
				path);
	return 0;
}

const str *cn_secret(void)
{
	const char *fault;

	if(secret_.path && secret_.looked != get_ticks()) {
		secret_.looked = get_ticks();
		fault = has_changed() ? read_line() : NULL;
		if(fault)
			LM_ERR("password_file: %s: %s; the last password stays in force\n",
					secret_.path, fault);
	}
	return &secret_.text;
}
