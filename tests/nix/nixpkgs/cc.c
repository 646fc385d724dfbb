/* A compiler wrapper as nixpkgs makes them, but a program: the compiler with its libc's loader, its linker and the words of
   NIX_LDFLAGS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    static char *command[4096];
    int end = 0;
    command[end++] = PROGRAM;
    command[end++] = "-Wl,--dynamic-linker=" LIBC "/lib/ld.so";
    command[end++] = "-B" LD "/bin";
    for (int at = 1; at < count; at++)
        command[end++] = words[at];
    char *flags = getenv("NIX_LDFLAGS");
    for (char *word = flags ? strtok(strdup(flags), " ") : NULL; word; word = strtok(NULL, " ")) {
        char *place = strcmp(word, "-rpath") ? NULL : strtok(NULL, " ");
        command[end] = malloc(strlen(word) + (place ? strlen(place) : 0) + 8);
        sprintf(command[end++], place ? "-Wl,%s,%s" : "%s%s", word, place ? place : "");
    }
    return execv(PROGRAM, command);
}
