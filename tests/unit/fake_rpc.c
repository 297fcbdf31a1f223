/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake_rpc.h"

#define ITEMS_MAX 4096
#define NODES_MAX 1024

/* A structure, an array, or the answer itself. */
struct node
{
	char path[96];
	int count; /* of its elements */
};

static struct
{
	char path[ITEMS_MAX][96];
	char value[ITEMS_MAX][256];
	int items;
	struct node nodes[NODES_MAX];
	int node_count;
	int fault;
	char fault_text[128];
	const char *parameter;
	int fail_in;
	bool failed;
} fake;

void fake_rpc_fail_at(int n)
{
	fake.fail_in = n;
	fake.failed = false;
}

bool fake_rpc_has_failed(void)
{
	return fake.failed;
}

static struct node *new_node(const char *path)
{
	struct node *node = &fake.nodes[fake.node_count++];

	assert_true(fake.node_count < NODES_MAX);
	snprintf(node->path, sizeof(node->path), "%s", path);
	node->count = 0;
	return node;
}

static void add_item(const char *path, const char *value)
{
	assert_true(fake.items < ITEMS_MAX);
	assert_null(fake_rpc_value(path)); /* a name is given once */
	snprintf(fake.path[fake.items], 96, "%s", path);
	snprintf(fake.value[fake.items++], 256, "%s", value);
}

static int add_value(const char *path, char type, va_list *args)
{
	char value[256];

	switch(type) {
		case '{':
		case '[':
			if(fake.fail_in > 0 && --fake.fail_in == 0) {
				fake.failed = true;
				return -1;
			}
			*va_arg(*args, void **) = new_node(path);
			return 0;
		case 's':
			snprintf(value, sizeof(value), "%s", va_arg(*args, char *));
			break;
		case 'd':
			snprintf(value, sizeof(value), "%d", va_arg(*args, int));
			break;
		case 'u':
			snprintf(value, sizeof(value), "%u", va_arg(*args, unsigned));
			break;
		case 'f':
			snprintf(value, sizeof(value), "%.3f", va_arg(*args, double));
			break;
		default:
			fail_msg("a value of type %c", type);
	}
	add_item(path, value);
	return 0;
}

static void join(char *to, const struct node *node, const char *name)
{
	int n = snprintf(
			to, 96, "%s%s%s", node->path, node->path[0] ? "." : "", name);

	assert_in_range(n, 1, 95);
}

/* Elements without names: of an array, or of the answer. */
static int add_elements(struct node *node, const char *types, va_list *args)
{
	char number[16], path[96];

	for(; *types; types++) {
		snprintf(number, sizeof(number), "%d", node->count);
		join(path, node, number);
		if(add_value(path, *types, args) < 0)
			return -1;
		node->count++;
	}
	return 0;
}

static int add(void *ctx, char *types, ...)
{
	va_list args;
	int err;

	va_start(args, types);
	err = add_elements(&fake.nodes[0], types, &args);
	va_end(args);
	return err;
}

static int array_add(void *array, char *types, ...)
{
	va_list args;
	int err;

	va_start(args, types);
	err = add_elements(array, types, &args);
	va_end(args);
	return err;
}

static int struct_add(void *structure, char *types, ...)
{
	char path[96];
	va_list args;
	int err = 0;

	va_start(args, types);
	for(; *types && err == 0; types++) {
		join(path, structure, va_arg(args, char *));
		err = add_value(path, *types, &args);
	}
	va_end(args);
	return err;
}

static void fault(void *ctx, int code, char *format, ...)
{
	va_list args;

	assert_int_equal(fake.fault, 0); /* one is enough */
	fake.fault = code;
	va_start(args, format);
	vsnprintf(fake.fault_text, sizeof(fake.fault_text), format, args);
	va_end(args);
}

/* One parameter, which may be left out. @return how many there are */
static int scan(void *ctx, char *types, ...)
{
	va_list args;

	assert_int_equal(types[0], '*');
	if(fake.parameter == NULL)
		return 0;
	va_start(args, types);
	if(strcmp(types, "*d") == 0)
		*va_arg(args, int *) = atoi(fake.parameter);
	else if(strcmp(types, "*.S") == 0)
		*va_arg(args, str *) = stub_str(fake.parameter);
	else
		fail_msg("parameters %s", types);
	va_end(args);
	return 1;
}

static rpc_t rpc = {.fault = fault,
		.add = (rpc_add_f)add,
		.scan = (rpc_scan_f)scan,
		.struct_add = (rpc_struct_add_f)struct_add,
		.array_add = (rpc_array_add_f)array_add};

int fake_rpc_call(
		rpc_export_t *commands, const char *name, const char *parameter)
{
	fake.items = fake.node_count = fake.fault = 0;
	fake.fault_text[0] = '\0';
	fake.parameter = parameter;
	new_node("");
	while(commands->name && strcmp(commands->name, name) != 0)
		commands++;
	assert_non_null(commands->name);
	assert_non_null(commands->doc_str[0]);
	commands->function(&rpc, &fake);
	return fake.fault;
}

const char *fake_rpc_value(const char *path)
{
	int i;

	for(i = 0; i < fake.items; i++) {
		if(strcmp(fake.path[i], path) == 0)
			return fake.value[i];
	}
	return NULL;
}

const char *fake_rpc_fault(void)
{
	return fake.fault_text;
}
