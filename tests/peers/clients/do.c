/* libgearman's gearman_client_do: do HOST PORT QUEUE TASK [exceptions] */

#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_text(const char *text, size_t size)
{
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"' || text[i] == '\\')
            putchar('\\');
        putchar(text[i]);
    }
    putchar('"');
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    gearman_client_st *client = gearman_client_create(NULL);
    gearman_client_add_server(client, argv[1], (in_port_t)atoi(argv[2]));
    if (argc > 5)
        gearman_client_add_options(client, GEARMAN_CLIENT_EXCEPTION);

    size_t size = 0;
    gearman_return_t ended;
    char *text = gearman_client_do(client, argv[3], NULL, argv[4], strlen(argv[4]), &size, &ended);
    int complete = ended == GEARMAN_SUCCESS;
    printf("{\"ended\": \"%s\", \"%s\": ",
           complete                            ? "complete"
           : ended == GEARMAN_WORK_FAIL      ? "failed"
           : ended == GEARMAN_WORK_EXCEPTION ? "exception"
                                             : gearman_strerror(ended),
           complete ? "result" : "reason");
    if (text == NULL)
        printf("null");
    else
        print_text(text, size);
    printf("}\n");
    return 0;
}
