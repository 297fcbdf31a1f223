/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads files that hold secrets. In the main process and those that serve RPC, to
 * check them, and in the HTTP processes. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/sr_module.h"

#include "base_header.h"
#include "http_files.h"
#include "http_pem.h"

/* Of a file whose first line counts. */
#define CN_LINE_MAX 8192
/* Of a TLS file: several times what a system's authorities take. */
#define CN_PEM_MAX (2 << 20)

static const struct
{
	const char *name;
	char *const *path;
	const char *label; /* RFC 7468 */
} tls_files[CN_TLS_FILES] = {{"tls_ca", &cn_conf.tls_ca, "CERTIFICATE"},
		{"tls_cert", &cn_conf.tls_cert, "CERTIFICATE"},
		{"tls_key", &cn_conf.tls_key, "PRIVATE KEY"}};

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

ssize_t cn_file_read(const char *parameter, const char *path, char *to,
		size_t size, struct cn_fault *fault)
{
	/* nobody waits for the other end of a pipe */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len = fd < 0 ? -1 : read_all(fd, to, size);
	int error = errno;

	if(fd >= 0)
		close(fd);
	if(len < 0)
		return cn_refuse(fault, "%s cannot be read: %s (%s)", parameter,
				strerror(error), path);
	if((size_t)len == size)
		return cn_refuse(fault, "%s is too long, more than %zu bytes (%s)",
				parameter, size - 1, path);
	return len;
}

/* A small text file, without the blanks and line breaks at its end.
 * @param to of CN_LINE_MAX bytes */
static int read_text(const char *parameter, const char *path, char *to,
		struct cn_fault *fault)
{
	ssize_t len = cn_file_read(parameter, path, to, CN_LINE_MAX, fault);

	if(len < 0)
		return -1;
	while(len > 0 && strchr(" \t\r\n", to[len - 1]) && to[len - 1] != '\0')
		len--;
	to[len] = '\0';
	if(len == 0)
		return cn_refuse(fault, "%s is empty (%s)", parameter, path);
	if(strlen(to) < (size_t)len)
		return cn_refuse(fault, "%s is no text (%s)", parameter, path);
	return 0;
}

static int read_key(
		struct cn_sign_key *key, const char *path, struct cn_fault *fault)
{
	char text[CN_LINE_MAX], what[128];
	int err = read_text("sign_key_file", path, text, fault);

	if(err == 0 && cn_sign_read_key(key, text, what, sizeof(what)) < 0)
		err = cn_refuse(fault, "sign_key_file %s (%s)", what, path);
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
		char **header, const char *parameter, struct cn_fault *fault)
{
	size_t name = cn_header_name(parameter);
	const char *path = cn_header_value(parameter, name);
	char text[CN_LINE_MAX];
	int err = read_text("http_header_file", path, text, fault);

	if(err == 0) {
		text[strcspn(text, "\r\n")] = '\0';
		*header = NULL;
		if(text[strspn(text, " \t")] == '\0')
			err = cn_refuse(fault,
					"http_header_file: the first line is empty (%s)", path);
		else if(cn_header_breaks(text, strlen(text)))
			err = cn_refuse(fault,
					"http_header_file: the first line has a control "
					"character (%s)",
					path);
		else if((*header = new_header(parameter, name, text)) == NULL)
			err = cn_refuse(fault, "out of memory");
	}
	explicit_bzero(text, sizeof(text));
	return err;
}

/* Does it hold a PEM block of this kind (RFC 7468)? */
static bool has_pem(const char *text, const char *label)
{
	static const char begin[] = "-----BEGIN ";
	const char *line = text;

	while(line) {
		if(strncmp(line, begin, sizeof(begin) - 1) == 0) {
			const char *found = strstr(line, label);

			if(found && found < line + strcspn(line, "\n"))
				return true;
		}
		line = strchr(line, '\n');
		line += line != NULL;
	}
	return false;
}

static int read_tls(
		struct cn_files *files, enum cn_tls_file which, struct cn_fault *fault)
{
	const char *name = tls_files[which].name;
	const char *path = *tls_files[which].path;
	ssize_t len;
	char *text;

	if(path == NULL)
		return 0;
	text = files->tls[which] = malloc(CN_PEM_MAX + 1);
	if(text == NULL)
		return cn_refuse(fault, "out of memory");
	len = cn_file_read(name, path, text, CN_PEM_MAX, fault);
	if(len < 0)
		return -1;
	text[len] = '\0';
	files->tls_len[which] = (size_t)len;
	if(!has_pem(text, tls_files[which].label))
		return cn_refuse(fault, "%s is not a PEM file with a %s (%s)", name,
				tls_files[which].label, path);
	return 0;
}

int cn_files_read(struct cn_files *files, struct cn_fault *fault)
{
	int i, err = 0;

	memset(files, 0, sizeof(*files));
	fault->text[0] = '\0';
	for(i = 0; i < CN_TLS_FILES && err == 0; i++)
		err = read_tls(files, i, fault);
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

	for(i = 0; i < CN_TLS_FILES; i++) {
		if(files->tls[i])
			explicit_bzero(files->tls[i], files->tls_len[i]);
		free(files->tls[i]);
	}
	for(i = 0; i < files->header_count; i++) {
		explicit_bzero(files->headers[i], strlen(files->headers[i]));
		free(files->headers[i]);
	}
	explicit_bzero(files, sizeof(*files));
}

static int try_tls(const struct cn_files *files, struct cn_fault *fault)
{
	const char *what;

	if(files->tls[CN_TLS_CA]
			&& !cn_pem_has_certificates(
					files->tls[CN_TLS_CA], files->tls_len[CN_TLS_CA]))
		return cn_refuse(fault, "tls_ca cannot be read, it is broken (%s)",
				cn_conf.tls_ca);
	if(files->tls[CN_TLS_CERT] == NULL)
		return 0;
	what = cn_pem_pair_fault(files->tls[CN_TLS_CERT],
			files->tls_len[CN_TLS_CERT], files->tls[CN_TLS_KEY],
			files->tls_len[CN_TLS_KEY]);
	return what ? cn_refuse(fault, "%s (%s, %s)", what, cn_conf.tls_cert,
				   cn_conf.tls_key)
				: 0;
}

int cn_files_load(struct cn_files *files, struct cn_fault *fault)
{
	if(cn_files_read(files, fault) < 0)
		return -1;
	if(try_tls(files, fault) == 0)
		return 0;
	cn_files_forget(files);
	return -1;
}

/* -------- changes -------- */

/* The time of a change of the inode, which nobody sets: a file that is put in
 * place of another may be older. */
static uint64_t add_file(uint64_t stamp, const char *path)
{
	struct stat st;

	if(path == NULL || stat(path, &st) < 0)
		return cn_digest(stamp, "", 1);
	stamp = cn_digest(stamp, &st.st_dev, sizeof(st.st_dev));
	stamp = cn_digest(stamp, &st.st_ino, sizeof(st.st_ino));
	stamp = cn_digest(stamp, &st.st_size, sizeof(st.st_size));
	stamp = cn_digest(stamp, &st.st_ctim.tv_sec, sizeof(st.st_ctim.tv_sec));
	return cn_digest(stamp, &st.st_ctim.tv_nsec, sizeof(st.st_ctim.tv_nsec));
}

static const char *header_path(int i)
{
	const char *parameter = cn_conf.http_header_file[i];

	return cn_header_value(parameter, cn_header_name(parameter));
}

uint64_t cn_files_stamp(void)
{
	uint64_t stamp = CN_DIGEST_BASE;
	int i;

	for(i = 0; i < CN_TLS_FILES; i++)
		stamp = add_file(stamp, *tls_files[i].path);
	for(i = 0; i < cn_conf.sign_key_files; i++)
		stamp = add_file(stamp, cn_conf.sign_key_file[i]);
	for(i = 0; i < cn_conf.http_header_files; i++)
		stamp = add_file(stamp, header_path(i));
	if(cn_conf.settings_file)
		stamp = add_file(stamp, cn_conf.settings_file);
	return stamp;
}

bool cn_files_any(void)
{
	return cn_conf.tls_ca || cn_conf.tls_cert || cn_conf.sign_key_files > 0
		   || cn_conf.http_header_files > 0 || cn_conf.settings_file;
}

/* -------- at the start -------- */

static void warn_of_everybody(const char *path)
{
	struct stat st;

	if(stat(path, &st) == 0 && st.st_mode & S_IROTH)
		LM_WARN("%s can be read by everybody on this machine: chmod 640\n",
				path);
}

static int check(int (*read)(struct cn_files *, struct cn_fault *))
{
	struct cn_fault fault;
	struct cn_files files;

	if(read(&files, &fault) < 0) {
		LM_ERR("%s\n", fault.text);
		return -1;
	}
	cn_files_forget(&files);
	return 0;
}

/* In a process of its own, as of what OpenSSL keeps no child must have copies.
 * Its end is not one that Kamailio is to be told of. With tls.so OpenSSL has its
 * memory in shared memory, and what the child does there is done to its parent,
 * which then cannot read its own certificate: an HTTP process finds it. */
static int check_tls(void)
{
	struct sigaction before, none = {.sa_handler = SIG_DFL};
	int status = -1, waited;
	pid_t pid;

	(void)sigaction(SIGCHLD, &none, &before);
	pid = fork();
	if(pid == 0)
		_exit(check(cn_files_load) < 0);
	do
		waited = pid > 0 ? waitpid(pid, &status, 0) : -1;
	while(waited < 0 && errno == EINTR);
	if(waited < 0 || !WIFEXITED(status))
		LM_ERR("cannot check tls_ca, tls_cert and tls_key: %s\n",
				waited < 0 ? strerror(errno) : "it crashed");
	(void)sigaction(SIGCHLD, &before, NULL);
	return waited > 0 && status == 0 ? 0 : -1;
}

int cn_files_check(void)
{
	int i;

	if(check(cn_files_read) < 0)
		return -1;
	if((cn_conf.tls_ca || cn_conf.tls_cert || cn_conf.tls_key)
			&& find_module_by_name("tls") == NULL && check_tls() < 0)
		return -1;
	for(i = 0; i < cn_conf.sign_key_files; i++)
		warn_of_everybody(cn_conf.sign_key_file[i]);
	return 0;
}
